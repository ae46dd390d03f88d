import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { REST_AFTER_MS, whileSeen } from './seen'

class Page extends EventTarget {
  hidden = false

  turn(hidden: boolean): void {
    this.hidden = hidden
    this.dispatchEvent(new Event('visibilitychange'))
  }
}

describe('a stream of a page', () => {
  let page: Page
  let opened: number
  let open: number
  const stream = () => {
    opened += 1
    open += 1
    return { close: () => void (open -= 1), retryNow: () => {} }
  }

  beforeEach(() => {
    vi.useFakeTimers()
    page = new Page()
    vi.stubGlobal('document', page)
    opened = 0
    open = 0
  })
  afterEach(() => {
    vi.useRealTimers()
    vi.unstubAllGlobals()
  })

  it('goes on over a short look elsewhere', () => {
    whileSeen(stream)
    page.turn(true)
    vi.advanceTimersByTime(REST_AFTER_MS - 1)
    page.turn(false)
    vi.advanceTimersByTime(2 * REST_AFTER_MS)
    expect([opened, open]).toEqual([1, 1])
  })

  it('rests out of sight and begins anew when seen', () => {
    whileSeen(stream)
    page.turn(true)
    vi.advanceTimersByTime(REST_AFTER_MS)
    expect([opened, open]).toEqual([1, 0])
    page.turn(false)
    expect([opened, open]).toEqual([2, 1])
  })

  it('rests also in a tab that was opened in the background', () => {
    page.hidden = true
    whileSeen(stream)
    vi.advanceTimersByTime(REST_AFTER_MS)
    expect([opened, open]).toEqual([1, 0])
  })

  it('stays closed once it is closed', () => {
    const it = whileSeen(stream)
    page.turn(true)
    it.close()
    vi.advanceTimersByTime(REST_AFTER_MS)
    page.turn(false)
    expect([opened, open]).toEqual([1, 0])
  })
})
