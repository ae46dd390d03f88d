import { expect, it } from 'vitest'
import { OTHERS } from '../result/pivot'
import { slotsOf } from './colours'

it('a series keeps its colour whatever comes beside it, and no two of a chart share one', () => {
  const memory = new Map()
  expect(slotsOf('product', ['bread', 'tea'], memory)).toEqual([1, 2])
  expect(slotsOf('product', ['apple', 'bread', 'tea', OTHERS], memory)).toEqual([3, 1, 2, 0])
  expect(slotsOf('browser', ['Firefox'], memory)).toEqual([1])
  const many = Array.from({ length: 12 }, (_, i) => `n${i}`)
  expect(new Set(slotsOf('product', many, memory)).size).toBe(12)
  expect(new Set(slotsOf('product', [...many.slice(0, 10), 'bread', 'tea'], memory)).size).toBe(12)
})
