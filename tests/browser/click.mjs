// click.mjs SHOP CONSOLE PICTURES: opens the demo shop and the console in Chromium, clicks "Buy" a few times and watches
// the number of clicks on the shop dashboard. Prints, per click, how long it took until the higher number was drawn, by
// the two pages' own clocks, and every error that a page reported. Screenshots go into the folder PICTURES.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium } from 'playwright-core'

const [shopUrl, consoleUrl, pictures] = process.argv.slice(2)
const CLICKS = 5
const WAIT_MS = 30_000

const profile = await mkdtemp(join(tmpdir(), 'riverrun-browser-'))
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: '/usr/bin/chromium',
  headless: true,
  viewport: { width: 1366, height: 768 },
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    // Two pages are looked at together: neither may be slowed down as a background tab.
    '--disable-background-timer-throttling',
    '--disable-renderer-backgrounding',
    '--disable-backgrounding-occluded-windows',
  ],
})

const errors = []
const watched = async (name) => {
  const page = await browser.newPage()
  page.on('pageerror', (error) => errors.push(`${name}: ${error.message}`))
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(`${name}: ${message.text()}`)
  })
  return page
}

// The number that the dashboard shows, read off the page as a person would.
const shown = (page) =>
  page.evaluate(() => {
    const text = document.querySelector('[data-tile="clicks"] [data-number]')?.textContent ?? '0'
    return Number(text.replace(/[^0-9]/g, ''))
  })

try {
  const shop = await watched('shop')
  const dashboard = await watched('console')
  await shop.goto(shopUrl)
  await dashboard.goto(`${consoleUrl}/#/dashboards/shop`)
  await dashboard.waitForSelector('[data-tile="clicks"] [data-number]', { timeout: WAIT_MS })
  const buttons = shop.getByRole('button', { name: /buy/i })
  await buttons.first().waitFor({ timeout: WAIT_MS })

  const clicks = []
  for (let index = 0; index < CLICKS; index += 1) {
    const before = await shown(dashboard)
    const drawn = dashboard.evaluate(
      ({ before, wait }) =>
        new Promise((resolve, reject) => {
          const last = performance.now() + wait
          const look = () => {
            const text = document.querySelector('[data-tile="clicks"] [data-number]')?.textContent ?? '0'
            const now = Number(text.replace(/[^0-9]/g, ''))
            // Once more round the frame: what stands in the page is on the screen at the next one.
            if (now > before) requestAnimationFrame(() => resolve(performance.timeOrigin + performance.now()))
            else if (performance.now() > last) reject(new Error(`the dashboard still shows ${now}`))
            else requestAnimationFrame(look)
          }
          look()
        }),
      { before, wait: WAIT_MS },
    )
    const button = buttons.nth(index % (await buttons.count()))
    const clicked = shop.evaluate(
      () =>
        new Promise((resolve) => {
          addEventListener('click', () => resolve(performance.timeOrigin + performance.now()), { once: true, capture: true })
        }),
    )
    await button.click()
    const ms = (await drawn) - (await clicked)
    clicks.push({ before, after: await shown(dashboard), drawn_after_ms: Math.round(ms * 10) / 10 })
  }

  await shop.screenshot({ path: join(pictures, 'shop.png') })
  const looks = [
    ['dashboard', '#/dashboards/shop'],
    ['pipeline', '#/pipeline'],
    ['tail', '#/tail'],
    ['sql', '#/sql'],
  ]
  for (const [size, width, height] of [['laptop', 1366, 768], ['phone', 390, 844]]) {
    await dashboard.setViewportSize({ width, height })
    for (const scheme of ['light', 'dark']) {
      await dashboard.emulateMedia({ colorScheme: scheme })
      for (const [name, hash] of looks) {
        await dashboard.goto(`${consoleUrl}/${hash}`)
        await dashboard.waitForTimeout(700) // for the eye only: charts finish their first animation
        await dashboard.screenshot({ path: join(pictures, `${name}-${size}-${scheme}.png`) })
      }
    }
  }
  console.log(JSON.stringify({ clicks, errors }))
} finally {
  await browser.close()
  await rm(profile, { recursive: true, force: true })
}
