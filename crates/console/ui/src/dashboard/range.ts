// The time range of a dashboard, and the bounds it means at a moment.

import { DAY, HOUR, MINUTE } from '../result/words'
import type { Bucket } from './placeholders'

export type RangeName = 'hour' | 'today' | 'day' | 'week' | 'custom'

export const RANGES: { name: RangeName; label: string; key: string }[] = [
  { name: 'hour', label: 'Last hour', key: 'h' },
  { name: 'today', label: 'Today', key: 't' },
  { name: 'day', label: '24 hours', key: 'd' },
  { name: 'week', label: '7 days', key: 'w' },
  { name: 'custom', label: 'Custom', key: 'c' },
]

export interface Range {
  name: RangeName
  /** Only for `custom`, ms since 1970. */
  from?: number
  to?: number
}

export interface Bounds {
  from: number
  /** What goes into the SQL. A range that ends now is open: it lies ahead, so that no new click falls outside. */
  to: number
  /** Where the picture ends: now, or the end that was chosen. */
  shownTo: number
  /** Whether new rows can still fall into the range. */
  open: boolean
}

/** Bucket widths in ms. */
export const STEP: Record<Bucket, number> = { minute: MINUTE, hour: HOUR, day: DAY }

/** The bucket that a range is drawn by unless the reader chooses another. */
export function bucketFor(range: Range): Bucket {
  const span = spanOf(range)
  if (span <= 3 * HOUR) return 'minute'
  return span <= 3 * DAY ? 'hour' : 'day'
}

/** The buckets that make sense for a range: at least two of them, and not thousands. */
export function bucketsFor(range: Range): Bucket[] {
  const span = spanOf(range)
  const all: Bucket[] = []
  if (span <= 6 * HOUR) all.push('minute')
  if (span <= 31 * DAY) all.push('hour')
  if (span > HOUR) all.push('day')
  return all
}

function spanOf(range: Range): number {
  switch (range.name) {
    case 'hour':
      return HOUR
    case 'today':
    case 'day':
      return DAY
    case 'week':
      return 7 * DAY
    case 'custom':
      return Math.max(MINUTE, (range.to ?? 0) - (range.from ?? 0))
  }
}

/**
 * The bounds of a range at a moment. They move in whole buckets, for two reasons: the first bar is never a cut one, and
 * readers of the same page ask for the same SQL, which the server computes once for all of them.
 */
export function boundsOf(range: Range, bucket: Bucket, now: number): Bounds {
  if (range.name === 'custom') {
    const from = range.from ?? now - DAY
    const to = Math.max(range.to ?? now, from + MINUTE)
    return { from, to, shownTo: Math.min(to, Math.max(now, from + MINUTE)), open: to > now }
  }
  const step = range.name === 'hour' ? MINUTE : STEP[bucket]
  const floor = (at: number, unit: number) => Math.floor(at / unit) * unit
  const from = range.name === 'today' ? floor(now, DAY) : floor(now, step) - spanOf(range) + (step === DAY ? DAY : 0)
  return { from, to: floor(now, DAY) + 2 * DAY, shownTo: now, open: true }
}
