import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vitest/config'

// `npm run dev` serves the pages with hot reload and passes the API on to a running server or to `npm run mock`.
const server = process.env['RIVERRUN_SERVER'] ?? 'http://127.0.0.1:7070'

export default defineConfig({
  plugins: [svelte()],
  base: '/',
  build: {
    target: 'es2022',
    // The polyfill is an inline script, which the content security policy refuses; every browser we support preloads.
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 800,
  },
  server: { proxy: { '/api': server, '/collect': server, '/metrics': server } },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
})
