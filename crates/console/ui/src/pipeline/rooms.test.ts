import { describe, expect, it } from 'vitest'
import { first, healthOf, strength } from './rooms'

const room = (rates: Record<string, number>, lag_ms: number | null = null, counts: Record<string, number> = {}) => ({ id: 'deliver', counts, rates, lag_ms })

describe('the health of a room', () => {
  it('is what happens now, not what once happened', () => {
    expect(healthOf(room({ records: 3, log_dropped: 0 }, 5, { log_dropped: 900 })).health).toBe('well')
    expect(healthOf(room({ records: 3, log_dropped: 1 })).health).toBe('trouble')
  })
  it('is behind when the room is, idle when nothing moves, unknown when nobody measures', () => {
    expect(healthOf(room({ records: 3 }, 2500)).health).toBe('behind')
    expect(healthOf(room({ records: 0 }, 0)).health).toBe('idle')
    expect(healthOf(undefined).health).toBe('unknown')
  })
  it('of the lake does not suffer from waiting for its next flush', () => {
    expect(healthOf({ ...room({ flushed_rows: 3 }, 9000), id: 'lake' }).health).toBe('well')
  })
})

it('the first known name counts, zero included', () => {
  expect(first({ b: 0 }, ['a', 'b'])).toBe(0)
  expect(first(undefined, ['a'])).toBeNull()
  expect([null, 0, 0.5, 50, 4000, 1e6].map(strength)).toEqual([0, 0, 1, 2, 3, 4])
})
