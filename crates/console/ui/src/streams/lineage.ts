// Shards as a picture: from left to right the hash range, from top to bottom the times at which shards were split and merged.

import type { Shard } from './api'
import { fraction, shareOf } from './hash'

export interface Cell {
  shard: Shard
  /** In parts of the width. */
  left: number
  width: number
  /** In rows. */
  top: number
  rows: number
}

export interface Lineage {
  cells: Cell[]
  rows: number
  /** When the row begins; null for the first, which began before. */
  times: (number | null)[]
  /** Older rows than fit. */
  hidden: number
}

/** Changes this close together are one: a stream is brought to another number of shards by many splits in a row. */
const TOGETHER_MS = 1000
/** More rows than this cannot be read; the oldest are left out, the table has them. */
export const ROWS_MAX = 6

export function lineageOf(shards: Shard[], rowsMax = ROWS_MAX): Lineage {
  const closings = shards.flatMap((shard) => (shard.closed_ms === null ? [] : [shard.closed_ms])).sort((a, b) => a - b)
  // First and last moment of each group of changes.
  const groups: [number, number][] = []
  for (const at of closings) {
    const last = groups.at(-1)
    if (last !== undefined && at - last[1] <= TOGETHER_MS) last[1] = at
    else groups.push([at, at])
  }
  const all = groups.length + 1
  const hidden = Math.max(0, all - rowsMax)
  const cells: Cell[] = []
  for (const shard of shards) {
    const from = groups.filter(([begin]) => begin <= shard.created_ms).length
    const closed = shard.closed_ms
    const to = closed === null ? all : groups.findIndex(([begin, end]) => begin <= closed && closed <= end) + 1
    const top = Math.max(0, from - hidden)
    const rows = to - hidden - top
    if (rows > 0) cells.push({ shard, left: fraction(BigInt(shard.range.start)), width: shareOf(shard.range), top, rows })
  }
  cells.sort((a, b) => a.left - b.left || a.top - b.top)
  return { cells, rows: all - hidden, times: [null, ...groups.map(([begin]) => begin)].slice(hidden), hidden }
}

/** The open shards beside this one, whose ranges touch its own. */
export function neighboursOf(shard: Shard, shards: Shard[]): { below: Shard | null; above: Shard | null } {
  const open = shards.filter((other) => other.closed_ms === null && other.shard !== shard.shard)
  return {
    below: open.find((other) => BigInt(other.range.end) + 1n === BigInt(shard.range.start)) ?? null,
    above: open.find((other) => BigInt(shard.range.end) + 1n === BigInt(other.range.start)) ?? null,
  }
}

export const childrenOf = (shard: Shard, shards: Shard[]): Shard[] => shards.filter((other) => other.parents.includes(shard.shard))
