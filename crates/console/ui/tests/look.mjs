// Pictures of every page at laptop and phone width, light and dark, for the eye; and what an eye would miss: errors in the
// page, anything refused by the content security policy, requests to elsewhere, pages wider than the screen, text with too
// little contrast, controls without a name. Fails on any of these.
//
//   node mock.mjs & node tests/look.mjs [--url http://127.0.0.1:7070] [--only dashboard] [--into tests/pictures]

import { mkdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'
import { faults } from './faults.mjs'

const option = (name, fallback) => (process.argv.includes(`--${name}`) ? process.argv[process.argv.indexOf(`--${name}`) + 1] : fallback)
const URL_ = option('url', 'http://127.0.0.1:7070')
const INTO = option('into', fileURLToPath(new URL('./pictures', import.meta.url)))
const ONLY = option('only', '')
mkdirSync(INTO, { recursive: true })

const rest = (ms) => new Promise((done) => setTimeout(done, ms))
const editor = '.host .cm-content'
const LOOKS = [
  ['dashboard', '#/dashboard/shop', async (page) => page.waitForSelector('[data-tile][data-updates]:not([data-updates="0"])')],
  ['dashboard-week', '#/dashboard/shop?range=week', async (page) => page.waitForSelector('[data-updates]:not([data-updates="0"])')],
  ['dashboard-hour-table', '#/dashboard/shop?range=hour', async (page) => { await page.waitForSelector('.canvas'); await page.locator('[aria-label*="as table"]').nth(1).click(); await page.locator('[aria-label^="Show the SQL"]').nth(2).click() }],
  ['pipeline', '#/pipeline', async () => rest(2500)],
  ['pipeline-room', '#/pipeline', async (page) => { await rest(1200); await page.locator('g.room').nth(2).click() }],
  ['streams', '#/streams', async (page) => page.waitForSelector('tbody tr')],
  ['streams-one', '#/streams/clicks', async (page) => { await page.waitForSelector('.band .cell'); await rest(2500) }],
  ['streams-shard', '#/streams/clicks?heat=in_bytes&shard=6', async (page) => { await page.waitForSelector('.shard'); await page.getByLabel('View the flow as table').click() }],
  ['streams-split', '#/streams/clicks?shard=6', async (page) => { await page.getByRole('button', { name: 'Split …' }).click(); await page.getByLabel(/Cut at/).fill('30%') }],
  ['streams-retention', '#/streams/clicks', async (page) => { await page.getByRole('button', { name: 'Retention …' }).click(); await page.getByLabel(/Hours/).fill('24') }],
  ['tail-past', '#/tail/clicks?from=earliest', async (page) => page.waitForSelector('tbody tr')],
  ['tail', '#/tail/clicks', async () => rest(1200)],
  ['tail-record', '#/tail/clicks', async (page) => { await rest(900); await page.locator('tbody tr').nth(3).click(); await rest(500) }],
  ['sql', '#/sql', async (page) => { await page.locator(editor).filter({ hasText: 'from ' }).waitFor(); await page.locator('.button.strong').click(); await rest(700) }],
  ['sql-chart', '#/sql?q=' + encodeURIComponent("select product_name as product, count(*) as clicks from clicks group by 1"), async (page) => { await rest(500); await page.getByRole('button', { name: 'Bars' }).click(); await rest(500) }],
  ['sql-error', '#/sql?q=' + encodeURIComponent('select\n  produkt, count(*)\nfrom clicks\ngroup by 1'), async () => rest(600)],
  ['sql-complete', '#/sql?q=' + encodeURIComponent('select  from clicks limit 500'), async (page) => { await rest(500); await page.locator(editor).click(); await page.keyboard.press('Control+Home'); for (let i = 0; i < 7; i += 1) await page.keyboard.press('ArrowRight'); await page.keyboard.type('pro'); await rest(500) }],
]

const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
})
const found = []
for (const [size, width, height] of [['laptop', 1440, 900], ['phone', 390, 844]])
  for (const scheme of ['light', 'dark']) {
    const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme, deviceScaleFactor: 1, hasTouch: size === 'phone' })
    for (const [name, hash, act] of LOOKS) {
      if (ONLY !== '' && !name.startsWith(ONLY)) continue
      const where = `${name}-${size}-${scheme}`
      const page = await context.newPage()
      page.setDefaultTimeout(8000)
      page.on('pageerror', (error) => found.push(`${where}: ${error.message}`))
      page.on('console', (message) => {
        const expected = name === 'sql-error' && /400/.test(message.text())
        if (!expected && ['error', 'warning'].includes(message.type())) found.push(`${where}: ${message.text()}`)
      })
      page.on('request', (request) => {
        if (!request.url().startsWith(URL_) && !/^(data|blob):/.test(request.url())) found.push(`${where}: asked ${request.url()}`)
      })
      try {
        await page.goto(`${URL_}/${hash}`)
        await act(page)
        await rest(500)
        await page.screenshot({ path: `${INTO}/${where}.png` })
        if (size === 'laptop' || ['dashboard', 'pipeline', 'streams-one', 'streams-shard'].includes(name)) await page.screenshot({ path: `${INTO}/${where}-whole.png`, fullPage: true })
        for (const fault of await page.evaluate(faults)) found.push(`${where}: ${fault}`)
      } catch (error) {
        found.push(`${where}: ${error.message.split('\n')[0]}`)
        await page.screenshot({ path: `${INTO}/${where}-failed.png` }).catch(() => undefined)
      }
      await page.close()
    }
    await context.close()
  }
await browser.close()
const unique = [...new Set(found)]
for (const line of unique) process.stdout.write(`${line}\n`)
process.stdout.write(`${unique.length} faults; pictures in ${INTO}\n`)
process.exit(unique.length === 0 ? 0 : 1)
