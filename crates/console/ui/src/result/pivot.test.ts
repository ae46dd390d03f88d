import { describe, expect, it } from 'vitest'
import { kindOf, numberOf, timeOf } from './columns'
import { OTHERS, pivot } from './pivot'
import { HOUR } from './words'

const at = (hour: number) => `2026-11-22T${String(hour).padStart(2, '0')}:00:00`
const columns = [
  { name: 'hour', type: 'Timestamp(Millisecond, None)' },
  { name: 'product', type: 'Utf8' },
  { name: 'clicks', type: 'Int64' },
]

describe('pivot', () => {
  it('stacks one series per product and fills the hours in which nothing happened', () => {
    const picture = pivot({ columns, rows: [[at(1), 'tea', 3], [at(3), 'tea', 1], [at(3), 'bread', 4]] })
    expect(picture.times?.map((t) => new Date(t).getUTCHours())).toEqual([1, 2, 3])
    expect(picture.series).toEqual([
      { name: 'bread', values: [0, 0, 4], total: 4 },
      { name: 'tea', values: [3, 0, 1], total: 4 },
    ])
    expect(picture.total).toBe(8)
    expect(picture.step).toBe(HOUR)
  })

  it('keeps the order of names, so that colours stay when totals change', () => {
    const names = (rows: (string | number)[][]) => pivot({ columns, rows }).series.map((s) => s.name)
    expect(names([[at(1), 'tea', 1], [at(1), 'bread', 9]])).toEqual(names([[at(1), 'tea', 9], [at(1), 'bread', 1]]))
  })

  it('adds up the smallest when there are more than colours can tell apart', () => {
    const rows = Array.from({ length: 20 }, (_, i) => [at(1), `p${String(i).padStart(2, '0')}`, 20 - i])
    const picture = pivot({ columns, rows })
    expect(picture.series).toHaveLength(12)
    expect(picture.series.at(-1)?.name).toBe(OTHERS)
    expect(picture.total).toBe(210)
  })

  it('draws the whole range, but not a long nothing before young data', () => {
    const now = timeOf(at(20)) ?? 0
    const picture = pivot({ columns, rows: [[at(18), 'tea', 1]] }, { step: HOUR, from: now - 48 * HOUR, to: now })
    expect(picture.times?.map((t) => (t - now) / HOUR)).toEqual([-13, -12, -11, -10, -9, -8, -7, -6, -5, -4, -3, -2, -1])
  })

  it('takes each number column as a series when there is nothing to stack by', () => {
    const picture = pivot({
      columns: [{ name: 'browser', type: 'Utf8' }, { name: 'views', type: 'Int64' }, { name: 'buys', type: 'Int64' }],
      rows: [['Firefox', 5, 1], ['Chrome', 7, 2]],
    })
    expect(picture.categories).toEqual(['Firefox', 'Chrome'])
    expect(picture.series.map((s) => [s.name, s.values])).toEqual([['views', [5, 7]], ['buys', [1, 2]]])
  })

  it('survives an empty result and a result without numbers', () => {
    expect(pivot({ columns, rows: [] }).series).toEqual([])
    expect(pivot({ columns: [{ name: 'a', type: 'Utf8' }], rows: [['x']] }).series).toEqual([])
  })
})

describe('cells', () => {
  it('reads times with and without zone as UTC, with any number of digits', () => {
    const want = Date.UTC(2026, 10, 22, 14, 3, 9, 128)
    for (const text of ['2026-11-22T14:03:09.128', '2026-11-22 14:03:09.128Z', '2026-11-22T14:03:09.128456789', '2026-11-22T15:03:09.128+01:00'])
      expect(timeOf(text)).toBe(want)
    expect(timeOf('2026-11-22')).toBe(Date.UTC(2026, 10, 22))
    expect(timeOf('soon')).toBeNull()
  })

  it('knows kinds by the names that engines use', () => {
    const kind = (type: string) => kindOf({ name: 'x', type })
    expect(['Timestamp(ms, "UTC")', 'Date32', 'Int64', 'Decimal128(10, 2)', 'Boolean', 'Utf8View', 'List(Int64)', 'text', 'double', 'timestamp'].map(kind)).toEqual(
      ['time', 'time', 'number', 'number', 'boolean', 'text', 'text', 'text', 'number', 'time'])
    expect(numberOf('9007199254740993')).toBe(9007199254740992)
    expect(numberOf('')).toBeNull()
  })
})
