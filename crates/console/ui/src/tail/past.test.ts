import { expect, it } from 'vitest'
import { seekOf } from './past'

it('the address says where reading begins', () => {
  const seek = (query: string) => seekOf(new URLSearchParams(query))
  expect(seek('')).toBeNull()
  expect(seek('filter=buy')).toBeNull()
  expect(seek('from=yesterday')).toBeNull()
  expect(seek('from=earliest')).toEqual({ from: 'earliest', shard: null })
  expect(seek('from=earliest&shard=7')).toEqual({ from: 'earliest', shard: 7 })
  expect(seek('from=120&shard=3')).toEqual({ from: 'offset', shard: 3, offset: 120 })
  expect(seek('from=2026-11-23T01:00')).toEqual({ from: 'time', at_ms: Date.UTC(2026, 10, 23, 1), shard: null })
  expect(seek('from=2026-11-23T01:00:05Z')).toEqual({ from: 'time', at_ms: Date.UTC(2026, 10, 23, 1, 0, 5), shard: null })
})
