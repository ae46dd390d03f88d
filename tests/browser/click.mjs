// click.mjs SHOP CONSOLE PICTURES: opens the demo shop and the console in Chromium, clicks "Buy" a few times and watches
// a number on the shop dashboard. Prints, per click, how long it took until the higher number was drawn, by the two
// pages' own clocks, and every error that a page reported. Screenshots go into the folder PICTURES.
import { join } from 'node:path'
import { withBrowser } from './browser.mjs'

const [shopUrl, consoleUrl, pictures] = process.argv.slice(2)
const CLICKS = 5
const WAIT_MS = 30_000
/** The large number of purchases, as the page holds it. */
const NUMBER = '[data-figure="purchases"]'
const LOOKS = [
  ['dashboard', '#/dashboard/shop'],
  ['pipeline', '#/pipeline'],
  ['tail', '#/tail/clicks'],
  ['sql', '#/sql'],
]
const SIZES = [
  ['laptop', 1366, 768],
  ['phone', 390, 844],
]

/** In the shop: when the next click happens, by that page's clock. */
const clickTime = () =>
  new Promise((resolve) => {
    addEventListener('click', () => resolve(performance.timeOrigin + performance.now()), { once: true, capture: true })
  })

/** In the console: when a number beyond `before` has been painted, by that page's clock. */
const paintTime = ({ number, before, wait }) =>
  new Promise((resolve, reject) => {
    const last = performance.now() + wait
    const look = () => {
      const now = Number(document.querySelector(number)?.dataset.value ?? 0)
      if (now > before) {
        // Handled after the paint of this frame.
        const { port1, port2 } = new MessageChannel()
        port1.onmessage = () => resolve(performance.timeOrigin + performance.now())
        port2.postMessage(0)
      } else if (performance.now() > last) reject(new Error(`the dashboard still shows ${now}`))
      else requestAnimationFrame(look)
    }
    look()
  })

const result = await withBrowser(async (open, errors) => {
  const shop = await open('shop')
  const dashboard = await open('console')
  await shop.goto(shopUrl)
  await dashboard.goto(`${consoleUrl}/#/dashboard/shop`)
  await dashboard.waitForSelector('[data-tile][data-updates]:not([data-updates="0"])', { timeout: WAIT_MS })
  const buttons = shop.getByRole('button', { name: /buy/i })
  await buttons.first().waitFor({ timeout: WAIT_MS })

  const clicks = []
  for (let index = 0; index < CLICKS; index += 1) {
    const before = await dashboard.evaluate((number) => Number(document.querySelector(number)?.dataset.value ?? 0), NUMBER)
    const drawn = dashboard.evaluate(paintTime, { number: NUMBER, before, wait: WAIT_MS })
    const clicked = shop.evaluate(clickTime)
    await buttons.nth(index % (await buttons.count())).click()
    const ms = (await drawn) - (await clicked)
    clicks.push({ before, drawn_after_ms: Math.round(ms * 10) / 10 })
  }

  await shop.screenshot({ path: join(pictures, 'shop.png') })
  for (const [size, width, height] of SIZES) {
    await dashboard.setViewportSize({ width, height })
    for (const scheme of ['light', 'dark']) {
      await dashboard.emulateMedia({ colorScheme: scheme })
      for (const [name, hash] of LOOKS) {
        await dashboard.goto(`${consoleUrl}/${hash}`)
        await dashboard.waitForTimeout(700) // for the eye only: charts end their first animation
        await dashboard.screenshot({ path: join(pictures, `${name}-${size}-${scheme}.png`) })
      }
    }
  }
  return { clicks, errors }
})
console.log(JSON.stringify(result))
