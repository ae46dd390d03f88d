import { describe, expect, it } from 'vitest'
import { ClockOffset } from './freshness'
import { SseParser } from './sse'

const whole = 'event: rows\r\ndata: {"a":1,\r\ndata: "b":2}\r\nid: 7\r\n\r\n: still here\n\ndata: x\n\nretry: 500\nevent: nothing\n\ndata:y\rdata\r\r'

describe('server-sent events', () => {
  it('are the same however the bytes are cut', () => {
    const want = [
      { event: 'rows', data: '{"a":1,\n"b":2}', id: '7' },
      { event: 'message', data: 'x', id: '7' },
      { event: 'message', data: 'y\n', id: '7' },
    ]
    for (let size = 1; size <= whole.length; size += 1) {
      const parser = new SseParser()
      const events = []
      for (let i = 0; i < whole.length; i += size) events.push(...parser.push(whole.slice(i, i + size)))
      events.push(...parser.push('\n'))
      expect(events).toEqual(want)
      expect(parser.comments).toBe(1)
      expect(parser.retry).toBe(500)
    }
  })

  it('drop a byte order mark and an unfinished event', () => {
    expect(new SseParser().push('\ufeffdata: a\n\ndata: b')).toEqual([{ event: 'message', data: 'a', id: '' }])
  })
})

describe('age', () => {
  it('is the plain difference while the clocks agree', () => {
    const clock = new ClockOffset()
    clock.heard(1000, 1040)
    expect(clock.age(1000, 1540)).toBe(540)
  })
  it('leaves out the difference of the clocks when they do not', () => {
    const clock = new ClockOffset()
    clock.heard(1000, 61_020)
    clock.heard(2000, 62_010)
    expect(clock.age(2000, 62_510)).toBe(500)
    const behind = new ClockOffset()
    behind.heard(100_000, 40_000)
    expect(behind.age(100_000, 40_700)).toBe(700)
  })
})
