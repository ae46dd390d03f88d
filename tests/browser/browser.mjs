// Chromium as the tests and the benchmarks start it, and where it notes what a page reports as an error.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium } from 'playwright-core'

const FLAGS = [
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
]

/** Runs `use(open, errors)` with a fresh Chromium; `open(name)` gives a page whose errors are noted under that name. */
export async function withBrowser(use) {
  const profile = await mkdtemp(join(tmpdir(), 'riverrun-browser-'))
  const launch = {
    executablePath: '/usr/bin/chromium',
    headless: true,
    viewport: { width: 1366, height: 768 },
    args: FLAGS,
    // A person's browser: a headless one calls itself a robot, and the dashboards leave robots out.
    userAgent: 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36',
  }
  const browser = await chromium.launchPersistentContext(profile, launch)
  const errors = []
  const open = async (name) => {
    const page = await browser.newPage()
    page.on('pageerror', (error) => errors.push(`${name}: ${error.message}`))
    page.on('console', (message) => {
      if (message.type() === 'error') errors.push(`${name}: ${message.text()}`)
    })
    return page
  }
  try {
    return await use(open, errors)
  } finally {
    await browser.close()
    await rm(profile, { recursive: true, force: true })
  }
}
