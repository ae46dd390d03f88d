// What the server tells of streams, and what can be asked of it: docs/http-api.md, "Streams".

import { errorOf, get } from '../shell/api'

export interface Rates {
  records_per_second: number
  bytes_per_second: number
}

export type Mode = 'provisioned' | 'on-demand'

export interface StreamSummary {
  name: string
  mode: Mode
  open_shards: number
  closed_shards: number
  created_ms: number
  retention_ms: number
  retention_bytes: number | null
  encrypted: boolean
  records: number
  bytes: number
  in: Rates
  out: Rates
  consumers: number
  /** Of the consumer that is furthest behind; null where nobody reads. */
  lag_records: number | null
  lag_ms: number | null
  /** Why a shard is not well, if one is not. */
  trouble: string | null
}

export interface Shard {
  shard: number
  name: string
  /** Both inclusive; decimal, as they are too large for a JSON number. */
  range: { start: string; end: string }
  /** Those that were split or merged into this one, as far as they are still kept. */
  parents: number[]
  created_ms: number
  closed_ms: number | null
  start: number
  end: number
  status: 'open' | 'closed' | 'poisoned' | 'corrupt'
  why: string | null
  in: Rates
  out: Rates
}

export interface Consumer {
  /** `table`: delivery into a table. `registered`: of the Kinesis API, with enhanced fan-out. */
  kind: 'table' | 'registered'
  name: string
  lag_records: number | null
  lag_ms: number | null
  state: string
  shards: { shard: number; lag_records: number; lag_ms: number }[]
}

export interface StreamState extends StreamSummary {
  at_ms: number
  shards: Shard[]
  reading: Consumer[]
  /** What one shard carries in the cloud, per second: the planner's limits. */
  limits: { records_in: number; bytes_in: number; bytes_out: number }
}

export interface Plan {
  shards: number
  fits: boolean
  shards_max: number
  decides: string
  formula: string
  demands: { limit: string; words: string; needed: number; per_shard: number; shards: number }[]
}

export interface Load {
  record_bytes: number
  records_per_second: number
  consumers: number
  fan_out_consumers: number
}

export const plan = (load: Load, signal?: AbortSignal) =>
  get<Plan>(`/api/v1/plan?${new URLSearchParams(Object.entries(load).map(([name, value]): [string, string] => [name, String(value)]))}`, signal)

export type Change =
  | { change: 'split'; body: { shard: number; at?: string } }
  | { change: 'merge'; body: { shard: number; with: number } }
  | { change: 'reshape'; body: { shards: number } }
  | { change: 'retention'; body: { retention_ms: number } }
  | { change: 'mode'; body: { mode: Mode } }

/** Asks for a change and gives the stream as it is then. */
export async function apply(stream: string, { change, body }: Change): Promise<StreamState> {
  const response = await fetch(`/api/v1/streams/${encodeURIComponent(stream)}/${change}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json' },
    body: JSON.stringify(body),
  })
  if (!response.ok) throw await errorOf(response)
  return (await response.json()) as StreamState
}
