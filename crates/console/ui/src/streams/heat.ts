// How hot a shard is, in steps of ten around what one shard carries in the cloud.

import { bytesWords, numberWords } from '../result/words'
import type { Rates, Shard, StreamState } from './api'

export type Measure = 'in_records' | 'in_bytes' | 'out_records' | 'out_bytes'

export const MEASURES: { name: Measure; label: string }[] = [
  { name: 'in_records', label: 'Records in' },
  { name: 'in_bytes', label: 'Bytes in' },
  { name: 'out_records', label: 'Records out' },
  { name: 'out_bytes', label: 'Bytes out' },
]

export function valueOf(shard: Pick<Shard, 'in' | 'out'>, measure: Measure): number {
  const rates: Rates = measure.startsWith('in') ? shard.in : shard.out
  return measure.endsWith('bytes') ? rates.bytes_per_second : rates.records_per_second
}

/** The limit that the steps are cut around. The published API limits no records out; those in are taken for them. */
export function limitOf(measure: Measure, limits: StreamState['limits']): number {
  if (measure === 'in_bytes') return limits.bytes_in
  return measure === 'out_bytes' ? limits.bytes_out : limits.records_in
}

/** 0 for nothing; 1, 2, 3 up to a hundredth, a tenth, the whole of the limit; 4 up to ten times; 5 beyond. */
export function stepOf(value: number, limit: number): 0 | 1 | 2 | 3 | 4 | 5 {
  // A moving average never quite reaches nothing.
  if (value < limit / 1e6) return 0
  if (value <= limit / 100) return 1
  if (value <= limit / 10) return 2
  if (value <= limit) return 3
  return value <= limit * 10 ? 4 : 5
}

const isBytes = (measure: Measure) => measure.endsWith('bytes')

export function rateWords(value: number, measure: Measure): string {
  if (isBytes(measure)) return `${bytesWords(value)}/s`
  return `${numberWords(value < 10 ? Math.round(value * 10) / 10 : Math.round(value), '', true)}/s`
}

/** What each step means, from 0 to 5. */
export function stepsWords(measure: Measure, limits: StreamState['limits']): string[] {
  const limit = limitOf(measure, limits)
  const words = (value: number) => rateWords(value, measure).replace(/\.0 /, ' ').replace(/\/s$/, '')
  return ['nothing', `up to ${words(limit / 100)}`, words(limit / 10), words(limit), words(limit * 10), 'more, per second']
}
