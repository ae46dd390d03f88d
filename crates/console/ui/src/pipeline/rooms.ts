// What the map says about each room: which of its many counts is the one to look at, and whether it is well.

import type { Room } from '../shell/api'

export type Health = 'well' | 'behind' | 'trouble' | 'idle' | 'unknown'

/** A room's place in words. Rates and counts are asked for by the first name that the server knows. */
export interface Face {
  id: string
  name: string
  does: string
  rate: string[]
  unit: string
  /** One more number worth its place on the map. */
  also: { count: string[]; words: string } | null
}

export const FACES: Face[] = [
  { id: 'edge', name: 'edge', does: 'serves the site, logs each request, takes in records', rate: ['requests'], unit: 'requests/s', also: { count: ['log_queue_lines'], words: 'waiting' } },
  { id: 'stream', name: 'stream', does: 'keeps every record on disk, in order, to be replayed', rate: ['appended_records', 'records'], unit: 'records/s', also: { count: ['waiting_bytes'], words: 'bytes waiting' } },
  { id: 'deliver', name: 'deliver', does: 'turns records into rows, exactly once', rate: ['rows', 'delivered'], unit: 'rows/s', also: { count: ['in_flight_records'], words: 'in flight' } },
  { id: 'lake', name: 'lake', does: 'Parquet files in an open table, committed every few seconds; the rate is that of the last half minute', rate: ['flushed_rows', 'rows'], unit: 'rows/s', also: { count: ['files'], words: 'files' } },
  { id: 'query', name: 'query', does: 'SQL over the lake and the rows not yet in it', rate: ['answered', 'received', 'queries'], unit: 'queries/s', also: { count: ['running'], words: 'running' } },
  { id: 'console', name: 'console', does: 'these pages: results pushed when they change', rate: ['live_pushes', 'pushes', 'events'], unit: 'pushes/s', also: { count: ['live_subscribers', 'subscribers'], words: 'live queries' } },
]

export function first(values: Record<string, number> | undefined, names: string[]): number | null {
  for (const name of names) {
    const value = values?.[name]
    if (value !== undefined) return value
  }
  return null
}

/** Behind after two seconds: a dashboard is meant to show a click in one. */
const BEHIND_MS = 2000
const TROUBLE_MS = 30_000

/** Counts that should stand still; a rate above zero is a trouble now, not one of the past. */
const TROUBLES = ['log_dropped', 'dropped', 'log_failed', 'failed_appends', 'flush_failures', 'maintenance_failures', 'corrupt_fetches', 'expired_records']
const WARNINGS = ['throttled_appends', 'collect_throttled', 'timed_out', 'rejected', 'rejected_records']

export function healthOf(room: Room | undefined): { health: Health; words: string } {
  if (room === undefined) return { health: 'unknown', words: 'not measured' }
  for (const name of TROUBLES) {
    const rate = room.rates[name] ?? 0
    if (rate > 0) return { health: 'trouble', words: name.replaceAll('_', ' ') }
  }
  if ((room.counts['fenced'] ?? 0) > 0) return { health: 'trouble', words: 'fenced off' }
  if ((room.counts['stopped'] ?? 0) > 0) return { health: 'trouble', words: 'stopped' }
  // The lake is behind by design, until the next flush: the tail carries what is missing.
  const lag = room.id === 'lake' ? null : room.lag_ms
  if (lag !== null && lag > TROUBLE_MS) return { health: 'trouble', words: 'far behind' }
  if (lag !== null && lag > BEHIND_MS) return { health: 'behind', words: 'behind' }
  for (const name of WARNINGS) if ((room.rates[name] ?? 0) > 0) return { health: 'behind', words: `${name.replaceAll('_', ' ')} now` }
  return Object.values(room.rates).some((rate) => rate > 0) ? { health: 'well', words: 'well' } : { health: 'idle', words: 'idle' }
}

/** 0 for nothing, up to 4: how wide and how fast the water is drawn. A step per factor of ten or so. */
export function strength(rate: number | null): 0 | 1 | 2 | 3 | 4 {
  if (rate === null || rate <= 0) return 0
  if (rate < 10) return 1
  if (rate < 200) return 2
  return rate < 5000 ? 3 : 4
}
