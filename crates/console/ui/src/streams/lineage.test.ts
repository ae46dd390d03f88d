import { describe, expect, it } from 'vitest'
import type { Shard } from './api'
import { SPACE, fraction, hashWords, middleOf, readHash, shareOf } from './hash'
import { rateWords, stepOf } from './heat'
import { childrenOf, lineageOf, neighboursOf } from './lineage'

const none = { records_per_second: 0, bytes_per_second: 0 }
const half = SPACE / 2n
const shard = (number: number, start: bigint, end: bigint, parents: number[] = [], created = 0, closed: number | null = null): Shard => ({
  shard: number, name: `shardId-${number}`, range: { start: String(start), end: String(end) }, parents, created_ms: created, closed_ms: closed,
  start: 0, end: 0, status: closed === null ? 'open' : 'closed', why: null, in: none, out: none,
})
/** One shard was split, the lower half split again, its upper child merged with the old upper half. */
const grown = [
  shard(0, 0n, SPACE - 1n, [], 0, 10_000),
  shard(1, 0n, half - 1n, [0], 10_001, 20_000),
  shard(2, half, SPACE - 1n, [0], 10_001, 30_000),
  shard(3, 0n, half / 2n - 1n, [1], 20_001),
  shard(4, half / 2n, half - 1n, [1], 20_001, 30_001),
  shard(5, half / 2n, SPACE - 1n, [4, 2], 30_002),
]

describe('the picture of shards', () => {
  it('has a row for each change, and each shard from its making to its closing', () => {
    const { cells, rows, times, hidden } = lineageOf(grown)
    expect([rows, hidden, times]).toEqual([4, 0, [null, 10_000, 20_000, 30_000]])
    const places = Object.fromEntries(cells.map((cell) => [cell.shard.shard, [cell.left, cell.width, cell.top, cell.rows]]))
    expect(places).toEqual({ 0: [0, 1, 0, 1], 1: [0, 0.5, 1, 1], 2: [0.5, 0.5, 1, 2], 3: [0, 0.25, 2, 2], 4: [0.25, 0.25, 2, 1], 5: [0.25, 0.75, 3, 1] })
  })
  it('covers the whole range in every row, without overlap', () => {
    const { cells, rows } = lineageOf(grown)
    for (let row = 0; row < rows; row += 1) {
      const here = cells.filter((cell) => cell.top <= row && row < cell.top + cell.rows)
      expect(here.reduce((sum, cell) => sum + cell.width, 0)).toBeCloseTo(1)
    }
  })
  it('leaves out the oldest rows when there are too many', () => {
    const { cells, rows, hidden } = lineageOf(grown, 2)
    expect([rows, hidden]).toEqual([2, 2])
    expect(cells.map((cell) => [cell.shard.shard, cell.top, cell.rows])).toEqual([[3, 0, 2], [4, 0, 1], [5, 1, 1], [2, 0, 1]])
  })
  it('knows neighbours and children', () => {
    const [, , , three, , five] = grown as [Shard, Shard, Shard, Shard, Shard, Shard]
    expect(neighboursOf(three, grown)).toEqual({ below: null, above: five })
    expect(childrenOf(grown[0] as Shard, grown).map((child) => child.shard)).toEqual([1, 2])
  })
})

describe('hashes', () => {
  it('are too large for numbers and keep all their digits', () => {
    const whole = { start: '0', end: String(SPACE - 1n) }
    expect(shareOf(whole)).toBe(1)
    expect(middleOf(whole)).toBe(170141183460469231731687303715884105728n)
    expect(fraction(half)).toBe(0.5)
    expect(hashWords(half)).toBe('0x80000000…')
  })
  it('are read as decimal, hexadecimal, or per cent of the range', () => {
    const range = { start: String(half), end: String(SPACE - 1n) }
    expect(readHash('170141183460469231731687303715884105728', range)).toBe(half)
    expect(readHash('0x80000000000000000000000000000000', range)).toBe(half)
    expect(readHash('50%', range)).toBe(half + half / 2n)
    for (const wrong of ['', 'half', '-1', '1.5', '101%', `0x1${'0'.repeat(32)}`]) expect(readHash(wrong, range), wrong).toBeNull()
  })
})

it('heat goes up in steps of ten around the limit of a shard', () => {
  expect([0, 0.00001, 0.5, 10, 11, 100, 1000, 1001, 10_000, 10_001].map((value) => stepOf(value, 1000))).toEqual([0, 0, 1, 1, 2, 2, 3, 4, 4, 5])
  expect(rateWords(0.04, 'in_records')).toBe('0/s')
  expect(rateWords(12_345, 'in_records')).toBe('12.3k/s')
  expect(rateWords(2 << 20, 'out_bytes')).toBe('2.0 MiB/s')
})
