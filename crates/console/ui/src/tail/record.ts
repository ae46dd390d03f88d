/** A record as the live tail sends it. */
export interface TailRecord {
  shard: number
  offset: number
  arrival_ms: number
  key?: string
  id: string | null
  format: string
  /** Numbers of the fields of a CDN log line, where the server tells them. */
  fields?: string
  simulated?: boolean
  payload: string
  bytes?: number
  /** This page's clock when it came. */
  received_ms: number
  /** It lay in the stream before this page asked. */
  before: boolean
  /** Shard and offset, which name a record for ever. */
  key_: string
}
