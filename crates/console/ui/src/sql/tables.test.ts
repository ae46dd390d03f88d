import { describe, expect, it } from 'vitest'
import { firstQuery, latestOf } from './tables'

const table = (name: string, columns: string[], schema = 'public') => ({ schema, name, columns: columns.map((column) => ({ name: column, type: 'text' })) })
const catalog = (...tables: ReturnType<typeof table>[]) => ({ tables, functions: [] })
const RUNS = table('runs', ['table', 'kind'], 'system')

describe('the first query', () => {
  it('is the demo’s where its table is', () => {
    const asked = firstQuery(catalog(RUNS, table('orders', ['total']), table('clicks', ['event_time', 'product_name', 'action'])))
    expect(asked).toMatch(/^select product_name, count\(\*\) as clicks,\n[^]*\nfrom clicks\n/)
  })
  it('is the latest rows of the first table elsewhere', () => {
    expect(firstQuery(catalog(RUNS, table('orders', ['event_time', 'total'])))).toBe('select *\nfrom orders\norder by event_time desc\nlimit 100')
    expect(firstQuery(catalog(table('clicks', ['event_time', 'url'])))).toBe('select *\nfrom clicks\norder by event_time desc\nlimit 100')
  })
  it('is none without a table: those of the system are no answer', () => {
    expect(firstQuery(catalog())).toBeNull()
    expect(firstQuery(catalog(RUNS, table('tables', [], 'information_schema')))).toBeNull()
  })
})

it('the latest rows of a table are ordered only by a column it has, and its name is quoted if it must be', () => {
  expect(latestOf(RUNS)).toBe('select *\nfrom system.runs\nlimit 100')
  expect(latestOf(table('Web-log', ['event_time']))).toBe('select *\nfrom "Web-log"\norder by event_time desc\nlimit 100')
})
