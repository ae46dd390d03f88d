// Places in a text of SQL.

import type { Catalog } from '../shell/api'

export interface Mark {
  from: number
  to: number
}

/**
 * From a line and column (both from 1) in what was run to a range in the editor's text: the word there, or one
 * character. `offset` is where the run text starts in the editor's.
 */
export function markAt(text: string, line: number, column: number, offset = 0): Mark {
  const lines = text.split('\n')
  const row = Math.min(Math.max(1, line), lines.length) - 1
  let from = 0
  for (let i = 0; i < row; i += 1) from += (lines[i]?.length ?? 0) + 1
  const rest = lines[row] ?? ''
  from += Math.min(Math.max(1, column) - 1, rest.length)
  const word = /^(?:"[^"\n]*"?|'[^'\n]*'?|[\w.]+|\S)/.exec(text.slice(from))?.[0].length ?? 0
  // At the very end there is nothing to underline: the last character then.
  if (word === 0) return { from: offset + Math.max(0, from - 1), to: offset + from }
  return { from: offset + from, to: offset + from + word }
}

/** The tables that a text names after FROM or JOIN, with their aliases. Good enough to complete by. */
export function tablesIn(text: string, catalog: Catalog): { tables: string[]; aliases: Map<string, string> } {
  const known = new Map(catalog.tables.map((t) => [(t.schema === 'public' ? t.name : `${t.schema}.${t.name}`).toLowerCase(), t.schema === 'public' ? t.name : `${t.schema}.${t.name}`]))
  const tables: string[] = []
  const aliases = new Map<string, string>()
  for (const match of text.matchAll(/\b(?:from|join)\s+([\w.]+)(?:\s+(?:as\s+)?(\w+))?/gi)) {
    const name = known.get((match[1] ?? '').toLowerCase().replace(/^public\./, ''))
    if (name === undefined) continue
    tables.push(name)
    const alias = match[2]?.toLowerCase()
    if (alias !== undefined && !/^(where|group|order|limit|join|left|right|inner|full|cross|on|using|having|union)$/.test(alias)) aliases.set(alias, name)
  }
  return { tables, aliases }
}
