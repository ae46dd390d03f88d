// The live results behind a dashboard's tiles: one connection for all of them, applied to the page once per frame.

import { flushSync } from 'svelte'
import { type Result, timeOf } from '../result/columns'
import { noteDrawn, pageNow } from '../live/drawn'
import { ClockOffset } from '../live/freshness'
import { openPageStreamWhileSeen } from '../live/page'
import type { Stream } from '../live/stream'
import type { SseEvent } from '../live/sse'

interface RowsEvent extends Result {
  query?: number
  version: number | string
  at_ms: number
}

/** What a tile shows. */
export class LiveTile {
  result = $state.raw<Result | null>(null)
  version = $state.raw<number | string>('')
  /** The server's clock when the rows were computed. */
  atMs = $state.raw(0)
  /** This page's clock when they arrived. */
  receivedMs = $state.raw(0)
  error = $state.raw<string | null>(null)
  /** The rows belong to another range than the one now asked for. */
  waiting = $state.raw(true)
  /** Updates since the page was opened. */
  updates = $state.raw(0)

  constructor(
    readonly title: string,
    public sql: string,
    readonly isLatest: boolean,
  ) {}
}

/** How long the newest click took to the screen, of the last clicks. */
const LAGS_KEPT = 50

export class Tiles {
  all = $state.raw<LiveTile[]>([])
  /** Click → drawn in ms, newest last. Only of clicks that happened while the page watched. */
  lags = $state.raw<number[]>([])
  /** This page's clock when the server was last heard. */
  heardMs = $state.raw(0)

  readonly clock = new ClockOffset()
  #stream: Stream | null = null
  #arrived = new Map<LiveTile, { event: RowsEvent; receivedMs: number }>()
  #frame = 0
  #newest = 0

  /** Follows these queries from now on. Tiles of the same title keep their picture until the new rows come. */
  follow(wanted: { title: string; sql: string; isLatest: boolean }[]): void {
    const before = new Map(this.all.map((tile) => [tile.title, tile]))
    this.all = wanted.map(({ title, sql, isLatest }) => {
      const tile = before.get(title)
      if (tile === undefined) return new LiveTile(title, sql, isLatest)
      tile.waiting = tile.waiting || tile.sql !== sql
      tile.sql = sql
      return tile
    })
    this.#stream?.close()
    this.#arrived.clear()
    if (wanted.length === 0) return
    const tiles = this.all
    const url = `/api/v1/live/sql?q=${encodeURIComponent(JSON.stringify(tiles.map((tile) => tile.sql)))}`
    this.#stream = openPageStreamWhileSeen('dashboard', url, {
      onEvent: (event, at) => this.#onEvent(tiles, event, at),
      onHeard: (at) => (this.heardMs = at),
      onState: (state) => {
        // A refusal concerns the queries, not the connection: the tiles say it.
        if (state.name === 'refused') for (const tile of tiles) tile.error = state.reason
      },
    })
  }

  close(): void {
    this.#stream?.close()
    this.#stream = null
    cancelAnimationFrame(this.#frame)
  }

  #onEvent(tiles: LiveTile[], event: SseEvent, receivedMs: number): void {
    if (event.event !== 'rows' && event.event !== 'error') return
    let body: RowsEvent & { message?: string; error?: { message?: string } }
    try {
      body = JSON.parse(event.data)
    } catch {
      return
    }
    const tile = tiles[body.query ?? 0]
    if (tile === undefined) return
    if (event.event === 'error') {
      tile.error = body.message ?? body.error?.message ?? 'The query failed.'
      tile.waiting = false
      return
    }
    this.clock.heard(body.at_ms, receivedMs)
    this.#arrived.set(tile, { event: body, receivedMs })
    // Between two frames only the newest rows of a tile matter.
    this.#frame ||= requestAnimationFrame(() => this.#draw())
  }

  #draw(): void {
    this.#frame = 0
    const updates = [...this.#arrived]
    this.#arrived.clear()
    for (const [tile, { event, receivedMs }] of updates) {
      tile.result = { columns: event.columns, rows: event.rows }
      tile.version = event.version
      tile.atMs = event.at_ms
      tile.receivedMs = receivedMs
      tile.error = null
      tile.waiting = false
      tile.updates += 1
    }
    flushSync()
    noteDrawn(updates.map(([tile, { event, receivedMs }]) => ({ tile: tile.title, version: event.version, at_ms: event.at_ms, received_ms: receivedMs })))
    for (const [tile] of updates) if (tile.isLatest) this.#noteLag(tile)
  }

  #noteLag(tile: LiveTile): void {
    const at = tile.result?.columns.findIndex((column) => column.name === 'event_time') ?? -1
    if (at < 0 || tile.result === null) return
    const newest = Math.max(0, ...tile.result.rows.map((row) => timeOf(row[at]) ?? 0))
    if (newest <= this.#newest) return
    const isFirst = this.#newest === 0
    this.#newest = newest
    // What was there when the page opened, or while it was hidden, was not watched.
    const lag = this.clock.age(newest, pageNow())
    if (!isFirst && !document.hidden && lag < 60_000) this.lags = [...this.lags.slice(1 - LAGS_KEPT), lag]
  }
}

/** The middle of some numbers. */
export function median(values: number[]): number | null {
  if (values.length === 0) return null
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? null
}
