import { describe, expect, it } from 'vitest'
import { placeholders, substitute, title, type Values } from './placeholders'
import { boundsOf, bucketFor, bucketsFor } from './range'

const values: Values = { from: Date.UTC(2026, 10, 21), to: Date.UTC(2026, 10, 22, 12, 30), bucket: 'hour', simulated: true, bots: false }

describe('placeholders', () => {
  it('become literals', () => {
    expect(substitute('select date_trunc($bucket, event_time) from clicks where event_time >= $from and event_time < $to and ($bots or not is_bot) and $simulated', values)).toBe(
      "select date_trunc('hour', event_time) from clicks where event_time >= '2026-11-21T00:00:00.000Z' and event_time < '2026-11-22T12:30:00.000Z' and (false or not is_bot) and true")
  })

  it('are the same when already quoted, and left alone inside strings, names and comments', () => {
    expect(substitute("date_trunc('$bucket', t)", values)).toBe("date_trunc('hour', t)")
    for (const sql of ["select 'costs $from 3'", 'select "$to"', '-- $bucket\nselect 1', '/* $bots */ select 1', "'it''s $from'", 'select $fromage'])
      expect(substitute(sql, values)).toBe(sql)
  })

  it('are listed, so that only switches that do something are shown', () => {
    expect([...placeholders("select '$bucket' where $bots -- $simulated")]).toEqual(['bucket', 'bots'])
    expect(title('Clicks by $bucket and product', values)).toBe('Clicks by hour and product')
  })
})

describe('ranges', () => {
  const now = Date.UTC(2026, 10, 22, 12, 30, 15)
  it('move in whole buckets, so that many readers ask for the same SQL', () => {
    const one = boundsOf({ name: 'day' }, 'hour', now)
    expect(boundsOf({ name: 'day' }, 'hour', now + 20_000)).toEqual({ ...one, shownTo: now + 20_000 })
    expect(new Date(one.from).toISOString()).toBe('2026-11-21T12:00:00.000Z')
    expect(one.to).toBeGreaterThan(now)
  })
  it('of seven days by day are seven days, today included', () => {
    expect(new Date(boundsOf({ name: 'week' }, 'day', now).from).toISOString()).toBe('2026-11-16T00:00:00.000Z')
  })
  it('choose a bucket that gives a picture', () => {
    expect([bucketFor({ name: 'hour' }), bucketFor({ name: 'day' }), bucketFor({ name: 'week' })]).toEqual(['minute', 'hour', 'day'])
    expect(bucketsFor({ name: 'week' })).toEqual(['hour', 'day'])
  })
})
