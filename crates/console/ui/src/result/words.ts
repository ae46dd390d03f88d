// Numbers, times and names as a person reads them. Times are UTC throughout, like the partitions of the lake.

import { type Cell, type Column, kindOf, numberOf, timeOf } from './columns'

const plain = new Intl.NumberFormat('en-GB', { maximumFractionDigits: 2 })
const whole = new Intl.NumberFormat('en-GB', { maximumFractionDigits: 0 })
const short = new Intl.NumberFormat('en-GB', { notation: 'compact', maximumFractionDigits: 1 })
const cents = new Intl.NumberFormat('en-GB', { minimumFractionDigits: 2, maximumFractionDigits: 2 })
const share = new Intl.NumberFormat('en-GB', { style: 'percent', maximumFractionDigits: 1 })

const CURRENCY: Record<string, string> = { eur: '€', usd: '$', gbp: '£' }

/** The unit that a column's name tells: `revenue_eur`, `conversion`, `size_bytes`, `took_ms`. */
export function unitOf(name: string): string {
  const end = /_(eur|usd|gbp|ms|bytes|pct)$/i.exec(name)?.[1]?.toLowerCase()
  if (end !== undefined) return CURRENCY[end] ?? (end === 'pct' ? '%' : end)
  return /^(conversion|.*_(rate|share))$/i.test(name) ? 'share' : ''
}

/** `top_products` → `Top products`; a unit at the end is left out, since the values carry it. */
export function labelOf(name: string): string {
  const words = name.replace(/_(eur|usd|gbp|pct)$/i, '').replaceAll('_', ' ').trim()
  return words === '' ? name : (words.charAt(0).toUpperCase() + words.slice(1)).replace(/\b(id|os|ip|url|sql|us|ms)\b/gi, (word) => (/^(us|ms)$/i.test(word) ? word.toLowerCase() : word.toUpperCase()))
}

/** A number with its unit. `brief` is for axes and narrow places: 12.3K. */
export function numberWords(value: number | null, unit = '', brief = false): string {
  if (value === null) return '–'
  if (unit === 'share') return share.format(value)
  if (unit === '%') return `${plain.format(value)} %`
  if (unit === 'bytes') return bytesWords(value)
  const isMoney = unit !== '' && '€$£'.includes(unit)
  let text: string
  if (brief && Math.abs(value) >= 10_000) text = short.format(value)
  else if (isMoney) text = brief ? whole.format(value) : cents.format(value)
  else text = plain.format(value)
  if (isMoney) return value < 0 ? `−${unit}${text.replace(/^[-−]/, '')}` : `${unit}${text}`
  return unit === '' ? text : `${text} ${unit}`
}

/** 1536 → 1.5 KiB. */
export function bytesWords(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let value = bytes
  let unit = 0
  while (Math.abs(value) >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit += 1
  }
  return `${unit === 0 ? whole.format(value) : value.toFixed(1)} ${units[unit]}`
}

/** Milliseconds as a person says them: 8 ms, 1.2 s, 3 min, 2 h, 5 days. */
export function spanWords(ms: number): string {
  const value = Math.max(0, ms)
  if (value < 1) return '<1 ms'
  if (value < 1000) return `${Math.round(value)} ms`
  if (value < 10_000) return `${(value / 1000).toFixed(1)} s`
  if (value < 120_000) return `${Math.round(value / 1000)} s`
  if (value < 7_200_000) return `${Math.round(value / 60_000)} min`
  if (value < 172_800_000) return `${Math.round(value / 3_600_000)} h`
  return `${Math.round(value / 86_400_000)} days`
}

/** How long ago, in whole seconds at least: a number that people can read while it counts. */
export const agoWords = (ms: number) => `${spanWords(ms < 10_000 ? Math.max(1, Math.round(ms / 1000)) * 1000 : ms).replace('.0 s', ' s')} ago`

const clock = new Intl.DateTimeFormat('en-GB', { timeZone: 'UTC', hour: '2-digit', minute: '2-digit' })
const seconds = new Intl.DateTimeFormat('en-GB', { timeZone: 'UTC', hour: '2-digit', minute: '2-digit', second: '2-digit' })
const day = new Intl.DateTimeFormat('en-GB', { timeZone: 'UTC', day: 'numeric', month: 'short' })
const weekday = new Intl.DateTimeFormat('en-GB', { timeZone: 'UTC', weekday: 'short', day: 'numeric', month: 'short' })

/** 14:03 */
export const clockWords = (at: number) => clock.format(at)
/** 14:03:09 */
export const secondsWords = (at: number) => seconds.format(at)
/** 14:03:09.128 */
export const millisWords = (at: number) => `${seconds.format(at)}.${String(Math.floor(at) % 1000).padStart(3, '0')}`
/** 22 Nov */
export const dayWords = (at: number) => day.format(at)
/** Sun, 22 Nov */
export const weekdayWords = (at: number) => weekday.format(at)
/** 2026-11-22 14:03:09.128 */
export const instantWords = (at: number) => new Date(at).toISOString().replace('T', ' ').replace('Z', '').replace(/\.000$/, '')

export const MINUTE = 60_000
export const HOUR = 3_600_000
export const DAY = 86_400_000

/** The name of one bucket of time, for a tooltip or a table. */
export function bucketWords(at: number, step: number): string {
  if (step >= DAY) return weekday.format(at)
  if (step < MINUTE) return seconds.format(at)
  const end = at + step
  return `${day.format(at)}, ${clock.format(at)}–${clock.format(end)}`
}

/** A cell as text, for tables. */
export function cellWords(cell: Cell | undefined, column: Column): string {
  if (cell === null || cell === undefined) return ''
  switch (kindOf(column)) {
    case 'time': {
      const at = timeOf(cell)
      return at === null ? String(cell) : instantWords(at)
    }
    case 'number': {
      const value = numberOf(cell)
      if (value === null) return String(cell)
      const unit = unitOf(column.name)
      // An identifier is not a quantity: no thousands separators, no rounding.
      if (unit === '' && /(^|_)(id|offset|year|shard|version|status)$/i.test(column.name)) return String(cell)
      return numberWords(value, unit)
    }
    case 'boolean':
      return cell === true ? 'yes' : cell === false ? 'no' : String(cell)
    default:
      return typeof cell === 'object' ? JSON.stringify(cell) : String(cell)
  }
}
