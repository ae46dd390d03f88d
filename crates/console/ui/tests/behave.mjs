// Uses the pages as a person would, against the stand-in server, in a real browser. `node tests/behave.mjs`

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'

const MOCK = fileURLToPath(new URL('../mock.mjs', import.meta.url))
const PORT = 7191
const URL_ = `http://127.0.0.1:${PORT}`

let mock
const start = (...flags) =>
  new Promise((ready) => {
    mock = spawn('node', [MOCK, '--port', String(PORT), ...flags], { stdio: ['ignore', 'pipe', 'inherit'] })
    mock.stdout.once('data', ready)
  })
const stop = () =>
  new Promise((gone) => {
    mock.once('exit', gone)
    mock.kill('SIGKILL')
  })

const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
})
const context = await browser.newContext({ viewport: { width: 1366, height: 850 }, acceptDownloads: true })
const errors = []
const open = async (hash) => {
  const page = await context.newPage()
  page.setDefaultTimeout(20_000)
  page.on('pageerror', (error) => errors.push(error.message))
  await page.goto(`${URL_}/${hash}`)
  return page
}
const tests = []
const test = (name, run) => tests.push([name, run])

test('a dashboard needs one live connection, and notes what it drew when', async () => {
  const live = []
  const page = await context.newPage()
  page.on('request', (request) => request.url().includes('/live/') && live.push(request.url()))
  await page.goto(`${URL_}/`)
  await page.waitForFunction(() => window.__riverrun?.drawn.length >= 12)
  assert.equal(live.length, 1)
  const drawn = await page.evaluate(() => window.__riverrun.drawn)
  for (const { tile, at_ms, received_ms, drawn_ms } of drawn) assert.ok(tile && at_ms <= received_ms + 2 && received_ms < drawn_ms, JSON.stringify({ tile, at_ms, received_ms, drawn_ms }))
  const value = () => page.evaluate(() => Number(document.querySelector('[data-figure="clicks"]').dataset.value))
  const before = await value()
  await page.waitForFunction((n) => Number(document.querySelector('[data-figure="clicks"]').dataset.value) > n, before)
  const tile = page.locator('[data-tile="Clicks by $bucket and product"]')
  assert.ok(Number(await tile.getAttribute('data-at')) > 1e12 && Number(await tile.getAttribute('data-version')) > 0)
  await page.close()
})

test('range, bucket and switches are in the address and in the SQL', async () => {
  const page = await open('')
  await page.getByRole('button', { name: 'Last hour' }).click()
  await page.getByText('Clicks by minute and product').waitFor()
  await page.keyboard.press('w')
  await page.getByText('Clicks by day and product').waitFor()
  assert.match(page.url(), /range=week/)
  await page.keyboard.press('i')
  await page.getByText('Clicks by hour and product').waitFor()
  await page.getByLabel('Bots').click()
  assert.match(page.url(), /bots=1/)
  await page.getByLabel('Show the SQL of Clicks by hour and product').click()
  const sql = await page.locator('.sql pre').innerText()
  assert.ok(sql.includes("date_trunc('hour', event_time)") && sql.includes('(true or not is_bot)') && !sql.includes('$'), sql)
  await page.keyboard.press('c')
  await page.getByLabel('From').fill('2026-01-01T00:00')
  await page.getByLabel('To', { exact: true }).fill('2026-01-02T00:00')
  await page.getByRole('button', { name: 'Show', exact: true }).click()
  await page.getByText('Nothing in this range yet').first().waitFor()
  assert.match(page.url(), /range=custom&from=2026-01-01T00%3A00&to=2026-01-02T00%3A00|from=/)
  await page.close()
})

test('a chart is a table too', async () => {
  const page = await open('')
  await page.waitForSelector('canvas')
  await page.getByLabel('View Clicks by hour and product as table').click()
  const table = page.getByRole('region', { name: 'Clicks by hour and product, table' })
  assert.ok((await table.locator('tbody tr').count()) > 20)
  const rows = Number(await table.locator('table').getAttribute('aria-rowcount'))
  assert.ok(rows > 200, `${rows} rows`)
  assert.ok((await table.locator('tbody tr').count()) < 80, 'only rows in sight are elements')
  await table.focus()
  await page.keyboard.press('End')
  await table.getByRole('row').last().waitFor()
  await page.waitForFunction((n) => [...document.querySelectorAll('[aria-rowindex]')].some((row) => row.getAttribute('aria-rowindex') === String(n)), rows)
  await page.close()
})

test('series are switched off and on', async () => {
  const page = await open('')
  const series = page.getByRole('button', { name: 'Copper kettle' }).first()
  await series.click()
  assert.equal(await series.getAttribute('aria-pressed'), 'false')
  await series.click()
  assert.equal(await series.getAttribute('aria-pressed'), 'true')
  await page.close()
})

test('keys go everywhere', async () => {
  const page = await open('')
  await page.keyboard.press('2')
  await page.getByRole('heading', { name: 'Pipeline' }).waitFor()
  await page.keyboard.press('?')
  await page.getByRole('dialog').waitFor()
  await page.keyboard.press('Escape')
  await page.keyboard.press('3')
  await page.getByRole('heading', { name: 'Streams' }).waitFor()
  await page.keyboard.press('4')
  await page.getByRole('heading', { name: 'Live tail' }).waitFor()
  await page.keyboard.press('5')
  await page.getByRole('heading', { name: 'SQL', exact: true }).waitFor()
  await page.close()
})

test('the ledger closes, and a room tells all its counts', async () => {
  const page = await open('#/pipeline')
  await page.getByText('the sum closes').waitFor()
  const cells = await page.locator('tbody tr').first().locator('td.right').allInnerTexts()
  const [received, delivered, filtered, rejected, flight, open_] = cells.map((cell) => Number(cell.replaceAll(',', '')))
  assert.equal(received, delivered + filtered + rejected + flight)
  assert.equal(open_, 0)
  await page.locator('g.room').first().focus()
  await page.keyboard.press('Enter')
  await page.getByRole('cell', { name: 'Requests' }).waitFor()
  await page.close()
})

test('streams are listed, and one shows its shards as a picture and as a table', async () => {
  const page = await open('#/streams')
  await page.getByRole('link', { name: 'clicks' }).click()
  await page.waitForSelector('.band .cell')
  const cells = page.locator('.band .cell')
  const open_ = await page.locator('.band .cell:not(.closed)').count()
  assert.equal(Number(await page.locator('[data-figure="shards"] dd').innerText()), open_)
  // The open ones cover the whole range.
  const boxes = await page.locator('.band .cell:not(.closed)').evaluateAll((all) => all.map((cell) => parseFloat(cell.style.width)))
  assert.ok(Math.abs(boxes.reduce((sum, width) => sum + width, 0) - 100) < 0.01, boxes.join(' '))
  const table = page.getByRole('region', { name: /^All shards/ })
  assert.equal(await table.locator('tbody tr').count(), await cells.count())
  await page.locator('.band .cell[tabindex="0"]').focus()
  await page.keyboard.press('ArrowRight')
  await page.keyboard.press('Enter')
  await page.waitForURL(/shard=\d+/)
  const chosen = await page.locator('.band .cell.chosen').getAttribute('data-shard')
  await page.getByRole('heading', { name: new RegExp(`^Shard ${chosen} `) }).waitFor()
  await page.getByRole('button', { name: 'Bytes in' }).click()
  assert.match(page.url(), /heat=in_bytes/)
  await page.getByLabel('View the flow as table').click()
  await page.getByRole('region', { name: 'Flow, second by second, table' }).waitFor()
  await page.close()
})

test('a shard is split and merged again, only after a word about it', async () => {
  const page = await open('#/streams/clicks?shard=3')
  await page.getByRole('button', { name: 'Split …' }).click()
  const dialog = page.getByRole('dialog', { name: 'Split shard 3' })
  await dialog.getByLabel(/Cut at/).fill('100%')
  assert.ok(await dialog.getByRole('button', { name: 'Split', exact: true }).isDisabled(), 'the cut lies outside')
  await dialog.getByLabel(/Cut at/).fill('25%')
  const sent = page.waitForRequest('**/api/v1/streams/clicks/split')
  await dialog.getByRole('button', { name: 'Split', exact: true }).click()
  const { shard, at } = JSON.parse((await sent).postData())
  assert.deepEqual([shard, at], [3, String((1n << 126n) + (1n << 124n))])
  await dialog.waitFor({ state: 'detached' })
  await page.getByText('Shard 3 was split.').waitFor({ state: 'attached' })
  const child = page.locator('.band .cell:not(.closed)').nth(1)
  await child.click()
  await page.getByRole('button', { name: /^Merge with/ }).last().click()
  await page.getByRole('button', { name: 'Leave it' }).click()
  assert.equal(await page.getByRole('dialog').count(), 0)
  await page.close()
})

test('the planner counts, says which limit decides, and is applied', async () => {
  const page = await open('#/streams/orders')
  await page.getByLabel('Average record, KiB').fill('10')
  await page.getByRole('spinbutton', { name: /^Records per second/ }).fill('500')
  await page.locator('[data-planned="5"]').waitFor()
  assert.match(await page.locator('li.decides').innerText(), /bytes in per second/)
  await page.getByLabel('Consumers that poll').fill('4')
  await page.locator('[data-planned="10"]').waitFor()
  assert.match(await page.locator('li.decides').innerText(), /bytes out per second, shared/)
  await page.getByRole('button', { name: 'Bring orders from 1 to 10 …' }).click()
  await page.getByRole('button', { name: 'Change to 10' }).click()
  await page.waitForFunction(() => document.querySelector('[data-figure="shards"] dd').textContent === '10')
  await page.close()
})

test('the planner asks only what can be counted, and says what a stream would not take', async () => {
  const page = await open('#/streams/orders')
  const asked = []
  page.on('request', (request) => request.url().includes('/api/v1/plan') && asked.push(request.url()))
  await page.locator('[data-planned]').waitFor()
  asked.length = 0
  const size = page.getByLabel('Average record, KiB')
  for (const wrong of ['', '-3', '1e30']) {
    await size.fill(wrong)
    await page.getByText('Expected KiB from').waitFor()
    assert.equal(await page.locator('[data-planned]').count(), 0)
  }
  await page.waitForTimeout(400)
  assert.deepEqual(asked, [])
  await size.fill('10241')
  await page.getByText('No stream takes a record of more than 10 MiB').waitFor()
  await page.getByLabel('Consumers with fan-out').fill('21')
  await page.getByText('at most 20 consumers with fan-out').waitFor()
  assert.equal(await page.getByRole('button', { name: /^Bring orders/ }).count(), 0)
  await page.close()
})

test('no table of a stream is wider than its place', async () => {
  const page = await open('#/streams/clicks')
  await page.waitForSelector('[data-reader]')
  for (const width of [390, 768, 1024, 1280, 1366]) {
    await page.setViewportSize({ width, height: 850 })
    await page.waitForTimeout(300)
    const wider = await page.locator('.scroll').evaluateAll((all) => all.filter((box) => box.scrollWidth > box.clientWidth).map((box) => `${box.scrollWidth} in ${box.clientWidth}`))
    assert.deepEqual(wider, [], `at ${width}`)
  }
  await page.close()
})

test('what lies in a stream is read from the beginning, from a time, from an offset', async () => {
  const page = await open('#/tail/clicks?from=earliest')
  await page.waitForSelector('tbody tr')
  assert.equal(await page.locator('tbody tr').count(), 100)
  assert.equal(await page.locator('.place').first().innerText(), '0/0')
  await page.getByRole('button', { name: 'Read on' }).click()
  await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 200)
  await page.getByLabel('Begin').selectOption('offset')
  await page.getByRole('spinbutton', { name: 'Offset' }).fill('120')
  await page.getByRole('button', { name: 'Read', exact: true }).click()
  await page.waitForURL(/from=120/)
  await page.waitForFunction(() => document.querySelector('.place')?.textContent === '0/120')
  await page.getByLabel('Begin').selectOption('time')
  await page.getByLabel('Time (UTC)').fill(new Date(Date.now() + 3_600_000).toISOString().slice(0, 19))
  await page.getByRole('button', { name: 'Read', exact: true }).click()
  await page.getByRole('link', { name: 'Follow the stream live' }).click()
  await page.getByRole('button', { name: 'Pause' }).waitFor()
  await page.close()
})

test('the tail pauses, filters, and shows a record with its receipt', async () => {
  const page = await open('#/tail/clicks')
  await page.waitForSelector('tbody tr')
  await page.keyboard.press('p')
  const top = await page.locator('tbody tr').first().innerText()
  await page.getByText(/Paused: \d+ came since/).waitFor()
  assert.equal(await page.locator('tbody tr').first().innerText(), top)
  await page.keyboard.press('p')
  await page.keyboard.press('/')
  await page.keyboard.type('action=buy')
  await page.waitForURL(/filter=action%3Dbuy/)
  await page.waitForFunction(() => [...document.querySelectorAll('tbody .text')].every((cell) => cell.textContent.includes('action=buy')))
  await page.locator('tbody tr').first().click()
  await page.getByText('a row of').waitFor()
  assert.ok(await page.getByText('x-edge-request-id').isVisible())
  await page.getByRole('button', { name: 'Raw' }).click()
  assert.match(await page.locator('.record pre').innerText(), /\t/)
  await page.close()
})

test('SQL runs, runs a selection, marks a mistake, is cancelled, and is saved', async () => {
  const page = await open('#/sql')
  const editor = page.locator('.host .cm-content')
  await editor.filter({ hasText: 'from clicks' }).waitFor()
  await page.keyboard.press('Control+Enter')
  await page.getByText(/\d+ rows in/).first().waitFor()

  await editor.fill('select 1\nselect product_name, count(*) from clicks group by 1')
  await page.keyboard.press('Control+End')
  await page.keyboard.press('Shift+Home')
  const sent = page.waitForRequest('**/api/v1/sql')
  await page.keyboard.press('Control+Enter')
  assert.equal(JSON.parse((await sent).postData()).sql, 'select product_name, count(*) from clicks group by 1')

  await editor.fill('select\n  produkt\nfrom clicks')
  await page.keyboard.press('Control+Enter')
  await page.getByRole('alert').waitFor()
  assert.equal(await page.locator('.host .cm-mistake').innerText(), 'produkt')
  assert.ok(await page.getByText('Line 2, column 3').isVisible())

  await editor.fill('select sleep(8) from clicks')
  await page.keyboard.press('Control+Enter')
  await page.getByRole('button', { name: 'Cancel' }).click()
  await page.getByText('Cancelled').first().waitFor()

  await editor.fill('select * from clicks')
  await page.keyboard.press('Control+Enter')
  await page.getByText('These are the first 10,000 rows').waitFor()
  const saved = page.waitForEvent('download')
  await page.getByRole('button', { name: 'CSV' }).click()
  assert.equal((await saved).suggestedFilename(), 'riverrun.csv')

  await editor.fill('select pro')
  await page.keyboard.press('Control+Space')
  await page.locator('.host .cm-tooltip-autocomplete').getByText('product_name').waitFor()
  await page.keyboard.press('Escape')
  await page.getByRole('button', { name: 'History' }).click()
  assert.ok((await page.locator('.past li').count()) >= 3)
  await page.close()
})

test('a server that goes away is told, and found again', async () => {
  const page = await open('')
  await page.waitForSelector('[data-updates]:not([data-updates="0"])')
  await stop()
  await page.getByText('No connection since').waitFor()
  await start('--rate', '6')
  await page.getByText('No connection since').waitFor({ state: 'detached', timeout: 15_000 })
  const before = await page.evaluate(() => window.__riverrun.drawn.length)
  await page.waitForFunction((n) => window.__riverrun.drawn.length > n, before)
  await page.close()
})

test('nothing yet, and nothing declared, say what to do', async () => {
  await stop()
  await start('--empty')
  let page = await open('')
  await page.getByText('Nothing in this range yet').first().waitFor()
  await page.goto(`${URL_}/#/tail/clicks`)
  await page.getByText('Nothing has come yet').waitFor()
  await page.close()
  await stop()
  await start('--no-dashboard')
  page = await open('')
  await page.getByText('No dashboard is declared').waitFor()
  await page.close()
})

await start('--rate', '6')
let failed = 0
for (const [name, run] of tests) {
  const began = Date.now()
  try {
    await run()
    process.stdout.write(`ok    ${name} (${Date.now() - began} ms)\n`)
  } catch (error) {
    failed += 1
    process.stdout.write(`FAIL  ${name}\n${String(error.stack).split('\n').slice(0, 12).join('\n')}\n`)
  }
  // A page that a failed test left open keeps a live connection, of which a browser has six per server.
  for (const page of context.pages()) await page.close()
}
await stop()
await browser.close()
if (errors.length > 0) process.stdout.write(`errors in the pages: ${errors.join('; ')}\n`)
process.exit(failed > 0 || errors.length > 0 ? 1 : 0)
