// From rows to the picture: one x axis and one or more series over it.

import { type Cell, type Result, kindOf, numberOf, timeOf } from './columns'
import { DAY, HOUR, MINUTE } from './words'

/** What the tile says about its columns; what it leaves out is found from their kinds. */
export interface Roles {
  x?: string | undefined
  y?: string | undefined
  series?: string | undefined
  /** The width of one bucket in ms, where the query was given one. */
  step?: number | undefined
  /** The range asked for, so that empty buckets at its ends are drawn too. */
  from?: number | undefined
  to?: number | undefined
}

export interface Series {
  name: string
  /** One value per x; empty buckets are zero. */
  values: number[]
  total: number
}

export interface Picture {
  /** Start of each bucket in ms, or null for a category axis. */
  times: number[] | null
  /** The categories, or null for a time axis. */
  categories: string[] | null
  /** The width of a bucket in ms; 0 for a category axis. */
  step: number
  series: Series[]
  /** The column whose values name the series; empty if each number column is one. */
  by: string
  /** The column that is drawn, for its unit. */
  measure: string
  total: number
}

/** More series than this cannot be told apart by colour: the smallest are added up. */
export const SERIES_MAX = 12
/** More buckets than this are not filled: nobody could see them. */
const BUCKETS_MAX = 3000
/** Before the first row at most so many empty buckets are drawn, so that a young data set does not look lost. */
const LEAD_IN = 11

export const OTHERS = 'all others'

export function pivot(result: Result, roles: Roles = {}): Picture {
  const { columns, rows } = result
  const index = (name: string | undefined) => (name === undefined ? -1 : columns.findIndex((c) => c.name === name))
  const kinds = columns.map(kindOf)

  let x = index(roles.x)
  if (x < 0) x = kinds.indexOf('time')
  if (x < 0) x = 0
  let by = index(roles.series)
  if (by < 0) by = kinds.findIndex((kind, i) => i !== x && (kind === 'text' || kind === 'boolean'))
  const named = index(roles.y)
  const measures = named >= 0 ? [named] : kinds.flatMap((kind, i) => (kind === 'number' && i !== x && i !== by ? [i] : []))

  const isTime = kinds[x] === 'time'
  const totals = new Map<string, number>()
  const cells = new Map<string, Map<number | string, number>>()
  const seen = new Set<number | string>()

  const add = (name: string, key: number | string, value: number) => {
    let line = cells.get(name)
    if (line === undefined) cells.set(name, (line = new Map()))
    line.set(key, (line.get(key) ?? 0) + value)
    totals.set(name, (totals.get(name) ?? 0) + value)
  }

  for (const row of rows) {
    const key = isTime ? timeOf(row[x]) : nameOf(row[x])
    if (key === null) continue
    seen.add(key)
    if (by >= 0) {
      const value = measures[0] === undefined ? 1 : numberOf(row[measures[0]])
      if (value !== null) add(nameOf(row[by]), key, value)
    } else {
      for (const m of measures) {
        const value = numberOf(row[m])
        if (value !== null) add(columns[m]?.name ?? '', key, value)
      }
    }
  }

  let keys: (number | string)[] = [...seen]
  let step = 0
  if (isTime) {
    const times = (keys as number[]).sort((a, b) => a - b)
    step = roles.step ?? guessStep(times)
    keys = fill(times, step, roles.from, roles.to)
  }

  // Names in a fixed order keep their colours when the totals move; only too many of them are cut by size.
  let names = by >= 0 ? [...totals.keys()].sort((a, b) => a.localeCompare(b)) : [...totals.keys()]
  let rest: string[] = []
  if (names.length > SERIES_MAX) {
    const bySize = [...names].sort((a, b) => (totals.get(b) ?? 0) - (totals.get(a) ?? 0))
    rest = bySize.slice(SERIES_MAX - 1)
    const cut = new Set(rest)
    names = names.filter((name) => !cut.has(name))
  }

  const series: Series[] = names.map((name) => {
    const line = cells.get(name)
    return { name, values: keys.map((key) => line?.get(key) ?? 0), total: totals.get(name) ?? 0 }
  })
  if (rest.length > 0) {
    const lines = rest.map((name) => cells.get(name))
    series.push({
      name: OTHERS,
      values: keys.map((key) => lines.reduce((sum, line) => sum + (line?.get(key) ?? 0), 0)),
      total: rest.reduce((sum, name) => sum + (totals.get(name) ?? 0), 0),
    })
  }

  return {
    times: isTime ? (keys as number[]) : null,
    categories: isTime ? null : keys.map(String),
    step,
    series,
    by: columns[by]?.name ?? '',
    measure: columns[measures[0] ?? -1]?.name ?? '',
    total: series.reduce((sum, line) => sum + line.total, 0),
  }
}

/** Series with the empty name are rows whose column was null. */
function nameOf(cell: Cell | undefined): string {
  if (cell === null || cell === undefined || cell === '') return '(none)'
  return typeof cell === 'object' ? JSON.stringify(cell) : String(cell)
}

/** The bucket width of times that nobody told us: the coarsest of day, hour, minute that they all lie on, or the smallest gap. */
export function guessStep(times: number[]): number {
  for (const unit of [DAY, HOUR]) if (times.every((at) => at % unit === 0)) return unit
  let gap = Infinity
  for (let i = 1; i < times.length; i += 1) {
    const d = (times[i] ?? 0) - (times[i - 1] ?? 0)
    if (d > 0 && d < gap) gap = d
  }
  if (gap === Infinity) return MINUTE
  return gap >= 1000 ? Math.round(gap / 1000) * 1000 : gap
}

/** All buckets from the first to the last; those of the range too, with a short lead-in before the first row. */
function fill(times: number[], step: number, from: number | undefined, to: number | undefined): number[] {
  if (times.length === 0 || step <= 0) return times
  const first = times[0] ?? 0
  const last = times[times.length - 1] ?? 0
  let start = first
  if (from !== undefined) start = Math.max(first - LEAD_IN * step, Math.ceil((from - first) / step) * step + first)
  start = Math.min(start, first)
  let end = last
  if (to !== undefined) end = Math.max(last, first + Math.floor((to - 1 - first) / step) * step)
  if ((end - start) / step > BUCKETS_MAX) return times
  const all: number[] = []
  for (let at = start; at <= end; at += step) all.push(at)
  // Times off the grid (no bucket in the query) would vanish: then the rows' own times are the axis.
  return times.every((at) => (at - start) % step === 0) ? all : times
}
