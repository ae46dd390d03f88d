// picture.mjs CONSOLE FILE: the picture of the dashboard in the README, taken from a running demo a while after its start.
import { withBrowser } from './browser.mjs'

const [consoleUrl, file] = process.argv.slice(2)
await withBrowser(async (open) => {
  const page = await open('console')
  await page.setViewportSize({ width: 1366, height: 1100 })
  await page.goto(`${consoleUrl}/#/dashboard/shop?range=hour`)
  await page.waitForTimeout(4000) // for the eye only: charts end their first animation, some clicks are measured
  await page.screenshot({ path: file })
})
