import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'
import { svelte } from '@sveltejs/vite-plugin-svelte'
import type { Plugin } from 'vite'
import { defineConfig } from 'vitest/config'

// `npm run dev` serves the pages with hot reload and passes the API on to a running server or to `npm run mock`.
const server = process.env['RIVERRUN_SERVER'] ?? 'http://127.0.0.1:7070'

/** Puts a .br and a .gz beside every file that gains from it: the server sends these as they lie there. */
function smaller(): Plugin {
  let folder = ''
  return {
    name: 'smaller',
    apply: 'build',
    configResolved: (config) => {
      folder = join(config.root, config.build.outDir)
    },
    closeBundle() {
      for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
        if (!/\.(js|css|html|svg)$/.test(name)) continue
        const whole = readFileSync(join(folder, name))
        const brotli = brotliCompressSync(whole, { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: whole.length } })
        if (brotli.length < whole.length) writeFileSync(join(folder, `${name}.br`), brotli)
        const gzip = gzipSync(whole, { level: 9 })
        if (gzip.length < whole.length) writeFileSync(join(folder, `${name}.gz`), gzip)
      }
    },
  }
}

export default defineConfig({
  plugins: [svelte(), smaller()],
  build: {
    target: 'es2022',
    // The polyfill is an inline script, which the content security policy refuses; every browser we support preloads.
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 800,
  },
  server: { proxy: Object.fromEntries(['/api', '/collect', '/metrics'].map((path) => [path, { target: server, changeOrigin: true, headers: { origin: server } }])) },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
})
