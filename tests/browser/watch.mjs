// watch.mjs CONSOLE SECONDS: for the benchmark of click → drawn. Opens the dashboard "bench", whose tile shows the time of the
// newest click, and notes every time a newer one was painted. Prints [[newest event time, painted at], …] in ms since 1970.
import { withBrowser } from './browser.mjs'

const [consoleUrl, seconds] = process.argv.slice(2)

const watch = (ms) =>
  new Promise((resolve) => {
    const seen = []
    const last = performance.now() + ms
    let newest = 0
    const look = () => {
      const now = Number(document.querySelector('[data-figure="newest"]')?.dataset.value ?? 0)
      if (now > newest) {
        newest = now
        const { port1, port2 } = new MessageChannel()
        port1.onmessage = () => seen.push([now, performance.timeOrigin + performance.now()])
        port2.postMessage(0)
      }
      if (performance.now() < last) requestAnimationFrame(look)
      else resolve(seen)
    }
    look()
  })

const seen = await withBrowser(async (open) => {
  const page = await open('console')
  await page.goto(`${consoleUrl}/#/dashboard/bench`)
  await page.waitForSelector('[data-figure="newest"]', { timeout: 60_000 })
  return page.evaluate(watch, Number(seconds) * 1000)
})
console.log(JSON.stringify(seen))
