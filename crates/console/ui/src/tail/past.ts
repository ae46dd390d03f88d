// Reading what lies in a stream, from a place on: GET /api/v1/streams/{name}/records.

import { get } from '../shell/api'
import type { TailRecord } from './record'

/** Where to begin. */
export type Seek = { from: 'earliest'; shard: number | null } | { from: 'time'; at_ms: number; shard: number | null } | { from: 'offset'; shard: number; offset: number }

/** What the address says: `from=earliest`, `from=2026-11-23T01:00:00`, `from=120&shard=3`; null for the live end. */
export function seekOf(query: URLSearchParams): Seek | null {
  const from = query.get('from') ?? ''
  const shard = /^\d{1,9}$/.test(query.get('shard') ?? '') ? Number(query.get('shard')) : null
  if (from === 'earliest') return { from: 'earliest', shard }
  if (/^\d{1,16}$/.test(from)) return { from: 'offset', shard: shard ?? 0, offset: Number(from) }
  const at = /^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(from) ? Date.parse(`${from.replace(/Z$/, '')}Z`) : Number.NaN
  return Number.isNaN(at) ? null : { from: 'time', at_ms: at, shard }
}

interface Page {
  records: Omit<TailRecord, 'received_ms' | 'before' | 'key_'>[]
  searched: number
  cursor: string
  left: number
}

/** Records of one page: a few screens. */
const PAGE = 100

export async function readPast(stream: string, { seek, cursor, filter }: { seek: Seek; cursor: string | null; filter: string }, signal: AbortSignal) {
  const query = new URLSearchParams({ limit: String(PAGE) })
  if (filter !== '') query.set('filter', filter)
  if (cursor !== null) query.set('cursor', cursor)
  else {
    if (seek.shard !== null) query.set('shard', String(seek.shard))
    if (seek.from === 'time') query.set('at_ms', String(seek.at_ms))
    if (seek.from === 'offset') query.set('offset', String(seek.offset))
  }
  const page = await get<Page>(`/api/v1/streams/${encodeURIComponent(stream)}/records?${query}`, signal)
  const received_ms = Date.now()
  return { ...page, records: page.records.map((record): TailRecord => ({ ...record, received_ms, before: true, key_: `${record.shard}/${record.offset}` })) }
}
