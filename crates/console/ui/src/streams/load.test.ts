import { describe, expect, it } from 'vitest'
import { FIELDS, type Typed, isRight, loadOf, notesOn } from './load'

const typed = (other: Partial<Typed> = {}): Typed => ({ kib: 1, records: 1000, consumers: 1, fanOut: 0, ...other })

describe('what is typed into the planner', () => {
  it('is asked in bytes', () => {
    expect(loadOf(typed({ kib: 1.5, fanOut: 2 }))).toEqual({ record_bytes: 1536, records_per_second: 1000, consumers: 1, fan_out_consumers: 2 })
    expect(loadOf(typed({ kib: 0.001, records: 0 }))?.record_bytes).toBe(1)
  })
  it('is not asked while a field is empty, negative, too large, or broken where it must be whole', () => {
    for (const wrong of [null, undefined, Number.NaN, -1, 1e21, Number.POSITIVE_INFINITY])
      for (const { name } of FIELDS) expect(loadOf(typed({ [name]: wrong })), `${name} ${wrong}`).toBeNull()
    expect(loadOf(typed({ kib: 0 }))).toBeNull()
    expect(loadOf(typed({ records: 1.5 }))).toBeNull()
    expect(loadOf(typed({ consumers: 1001 }))).toBeNull()
  })
  it('is right up to the ends that are told, and stays a number that an address can carry', () => {
    const most = typed(Object.fromEntries(FIELDS.map(({ name, max }) => [name, max])))
    expect(FIELDS.every((field) => isRight(field, most[field.name]))).toBe(true)
    for (const value of Object.values(loadOf(most) ?? {})) expect(String(value)).toMatch(/^\d+$/)
  })
})

it('what a stream would not take is told, and only that', () => {
  const words = (other: Partial<Typed>) => notesOn(loadOf(typed(other)) ?? expect.fail('not asked')).map((note) => [note.refuses, note.words.slice(0, 14)])
  expect(words({ kib: 1024, fanOut: 20 })).toEqual([])
  expect(words({ kib: 1024.1 })).toEqual([[false, 'A stream takes']])
  expect(words({ kib: 10_240 })).toEqual([[false, 'A stream takes']])
  expect(words({ kib: 10_240.1, fanOut: 21 })).toEqual([[true, 'No stream take'], [true, 'One stream has']])
})
