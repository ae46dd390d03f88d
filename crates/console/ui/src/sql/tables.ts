// Tables of the catalog in SQL: how each is named, and what to ask first.

import type { Catalog } from '../shell/api'

type Table = Catalog['tables'][number]

/** Schemas of the server itself. Their tables say nothing of what was sent, so no first question is about them. */
const OWN = new Set(['system', 'information_schema'])

/** A table as it is named for people: those of the file by their name alone. */
export const nameOf = (table: Pick<Table, 'schema' | 'name'>) => (table.schema === 'public' ? table.name : `${table.schema}.${table.name}`)

/** The same in SQL, where a name that is no plain lower-case word must be quoted. */
const quoted = (name: string) => (/^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`)
const sqlNameOf = (table: Table) => (table.schema === 'public' ? quoted(table.name) : `${quoted(table.schema)}.${quoted(table.name)}`)

const has = (table: Table, ...columns: string[]) => columns.every((name) => table.columns.some((column) => column.name === name))

/** The latest rows of a table; any rows, where it has no time to order by. */
export function latestOf(table: Table): string {
  return `select *\nfrom ${sqlNameOf(table)}\n${has(table, 'event_time') ? 'order by event_time desc\n' : ''}limit 100`
}

/** Tables that the server's file declares. */
export const declaredIn = (catalog: Catalog) => catalog.tables.filter((table) => !OWN.has(table.schema))

/** What stands in an editor in which nothing was written yet: a question that this server can answer. Null without a table. */
export function firstQuery(catalog: Catalog): string | null {
  const tables = declaredIn(catalog)
  // The demo's table has a question that shows more than its rows.
  if (tables.some((table) => nameOf(table) === 'clicks' && has(table, 'product_name', 'action')))
    return `select product_name, count(*) as clicks,
  count(*) filter (where action = 'buy') as buys
from clicks
group by 1
order by 2 desc
limit 20`
  const [first] = tables
  return first === undefined ? null : latestOf(first)
}
