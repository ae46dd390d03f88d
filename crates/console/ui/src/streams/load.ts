// What is typed into the planner: whether it can be counted with, and what a stream would not take of it.

import type { Load } from './api'

export type Field = 'kib' | 'records' | 'consumers' | 'fanOut'

/** As number fields give them: null where nothing, or no number, was typed. */
export type Typed = Record<Field, number | null | undefined>

interface FieldSpec {
  name: Field
  label: string
  min: number
  max: number
  isWhole: boolean
  /** What is expected, beside a field that holds something else. */
  expected: string
}

/** The upper ends only keep the sums within what a number holds; those of a stream are far below them. */
export const FIELDS: FieldSpec[] = [
  { name: 'kib', label: 'Average record, KiB', min: 1 / 1024, max: 1024 * 1024, isWhole: false, expected: 'Expected KiB from 0.001 (one byte) to 1,048,576 (1 GiB)' },
  { name: 'records', label: 'Records per second, at the busiest time', min: 0, max: 1e9, isWhole: true, expected: 'Expected a whole number from 0 to 1,000,000,000' },
  { name: 'consumers', label: 'Consumers that poll', min: 0, max: 1000, isWhole: true, expected: 'Expected a whole number from 0 to 1,000' },
  { name: 'fanOut', label: 'Consumers with fan-out', min: 0, max: 1000, isWhole: true, expected: 'Expected a whole number from 0 to 1,000' },
]

/** One byte as it is written with three digits, 0.001 KiB, is one byte. */
const bytesOf = (kib: number) => Math.round(kib * 1024)

export function isRight(field: FieldSpec, value: number | null | undefined): value is number {
  if (value === null || value === undefined || !Number.isFinite(value)) return false
  if (field.isWhole) return Number.isInteger(value) && value >= field.min && value <= field.max
  return bytesOf(value) >= 1 && value <= field.max
}

/** What the server can be asked; null while a field holds something else than it should. */
export function loadOf(typed: Typed): Load | null {
  if (!FIELDS.every((field) => isRight(field, typed[field.name]))) return null
  return { record_bytes: bytesOf(typed.kib ?? 0), records_per_second: typed.records ?? 0, consumers: typed.consumers ?? 0, fan_out_consumers: typed.fanOut ?? 0 }
}

/** Largest record of a stream as it is made, and as it can be set; consumers that can be registered with one. */
const RECORD_BYTES_DEFAULT = 1 << 20
const RECORD_BYTES_MAX = 10 << 20
const FAN_OUT_MAX = 20

/** What one stream would not take of this load, whatever its shards. The planner's formula knows only shards. */
export function notesOn(load: Load): { words: string; refuses: boolean }[] {
  const notes: { words: string; refuses: boolean }[] = []
  if (load.record_bytes > RECORD_BYTES_MAX) notes.push({ words: 'No stream takes a record of more than 10 MiB: cut it up, or keep it elsewhere and send its address.', refuses: true })
  else if (load.record_bytes > RECORD_BYTES_DEFAULT) notes.push({ words: 'A stream takes records of up to 1 MiB until UpdateMaxRecordSize allows it more, up to 10 MiB.', refuses: false })
  if (load.fan_out_consumers > FAN_OUT_MAX) notes.push({ words: `One stream has at most ${FAN_OUT_MAX} consumers with fan-out: let the others poll.`, refuses: true })
  return notes
}
