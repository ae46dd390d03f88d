// What a result's columns are to a person: a time, a number, a yes or no, or text.

/** One value of a result, as the API writes it in JSON. */
export type Cell = string | number | boolean | null | Cell[] | { [key: string]: Cell }

/** A column of a result: its name and the type the engine gave it. */
export interface Column {
  name: string
  type: string
}

/** A result as `POST /api/v1/sql` and the live `rows` event carry it. */
export interface Result {
  columns: Column[]
  rows: Cell[][]
}

export type Kind = 'time' | 'number' | 'boolean' | 'text'

/** The kind of a column by its type. Unknown types are text, which is never wrong to show. */
export function kindOf(column: Column): Kind {
  const type = column.type.toLowerCase()
  if (/^(list|struct|map|largelist|binary|dictionary.*utf8)/.test(type)) return 'text'
  if (/timestamp|date|time64|time32/.test(type)) return 'time'
  if (/int|float|double|decimal|real|numeric/.test(type) && !/interval/.test(type)) return 'number'
  if (/bool/.test(type)) return 'boolean'
  return 'text'
}

const ZONE = /(z|[+-]\d\d:?\d\d)$/i
const DAY = /^\d{4}-\d\d-\d\d$/

/** Milliseconds since 1970 of a cell in a time column; a time without a zone is UTC. Null if it is not a time. */
export function timeOf(cell: Cell | undefined): number | null {
  if (typeof cell === 'number') return Number.isFinite(cell) ? cell : null
  if (typeof cell !== 'string' || cell.length < 8) return null
  let text = cell.trim().replace(' ', 'T')
  if (DAY.test(text)) text += 'T00:00:00'
  // Date.parse knows milliseconds; the engine may write micro- or nanoseconds.
  text = text.replace(/(\.\d{3})\d+/, '$1')
  const at = Date.parse(ZONE.test(text) ? text : `${text}Z`)
  return Number.isNaN(at) ? null : at
}

/** A number from a cell; big integers and decimals arrive as text. Null if it is not a number. */
export function numberOf(cell: Cell | undefined): number | null {
  if (typeof cell === 'number') return Number.isFinite(cell) ? cell : null
  if (typeof cell === 'string' && cell.trim() !== '') {
    const value = Number(cell)
    return Number.isFinite(value) ? value : null
  }
  if (typeof cell === 'boolean') return cell ? 1 : 0
  return null
}
