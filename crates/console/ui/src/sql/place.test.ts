import { describe, expect, it } from 'vitest'
import { markAt, tablesIn } from './place'

const at = (text: string, line: number, column: number, offset = 0) => {
  const { from, to } = markAt(text, line, column, offset)
  return [from, to, (' '.repeat(offset) + text).slice(from, to)]
}

describe('the place of a mistake', () => {
  it('is the word at its line and column', () => {
    expect(at('select a,\n  produkt from clicks', 2, 3)).toEqual([12, 19, 'produkt'])
    expect(at('select "a b" from x', 1, 8)).toEqual([7, 12, '"a b"'])
    expect(at('select (', 1, 8)).toEqual([7, 8, '('])
  })
  it('counts from the start of the selection that was run', () => {
    expect(at('select x', 1, 8, 100)).toEqual([107, 108, 'x'])
  })
  it('at or beyond the end is the last character', () => {
    expect(at('select', 1, 7)).toEqual([5, 6, 't'])
    expect(at('select', 9, 99)).toEqual([5, 6, 't'])
    expect(markAt('', 1, 1)).toEqual({ from: 0, to: 0 })
  })
})

it('tables and aliases are found after FROM and JOIN', () => {
  const catalog = { functions: [], tables: [{ schema: 'public', name: 'clicks', columns: [] }, { schema: 'system', name: 'runs', columns: [] }] }
  const { tables, aliases } = tablesIn('select c.x from clicks as c join system.runs r on true join nowhere n where 1', catalog)
  expect(tables).toEqual(['clicks', 'system.runs'])
  expect([...aliases]).toEqual([['c', 'clicks'], ['r', 'system.runs']])
  expect(tablesIn('select 1 from clicks where x', catalog).aliases.size).toBe(0)
})
