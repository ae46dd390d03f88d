// The values that a page puts into a tile's SQL: $from, $to, $bucket, $simulated, $bots.

export type Bucket = 'minute' | 'hour' | 'day'

export interface Values {
  /** Milliseconds since 1970. */
  from: number
  to: number
  bucket: Bucket
  /** Whether rows of simulated shoppers, and of bots, are wanted. */
  simulated: boolean
  bots: boolean
}

export type Placeholder = keyof Values

// In this order: comments, strings, quoted names, placeholders. Only the last are replaced, except that a string which
// is nothing but a placeholder ('$bucket') means the same as the bare one.
const PIECES = /--[^\n]*|\/\*[\s\S]*?\*\/|'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(?:from|to|bucket|simulated|bots)\b/g
const QUOTED = /^'\$(from|to|bucket|simulated|bots)'$/

/** The SQL with every placeholder replaced by a literal: quoted UTC times, a quoted bucket name, true or false. */
export function substitute(sql: string, values: Values): string {
  return sql.replace(PIECES, (piece) => {
    const name = piece.startsWith('$') ? piece.slice(1) : QUOTED.exec(piece)?.[1]
    return name === undefined ? piece : literal(name as Placeholder, values)
  })
}

/** Which placeholders occur, so that a page shows only the switches that do something. */
export function placeholders(sql: string): Set<Placeholder> {
  const found = new Set<Placeholder>()
  for (const [piece] of sql.matchAll(PIECES)) {
    const name = piece.startsWith('$') ? piece.slice(1) : QUOTED.exec(piece)?.[1]
    if (name !== undefined) found.add(name as Placeholder)
  }
  return found
}

/** A title may say `$bucket` too: "Clicks by $bucket and product". */
export function title(text: string, values: Values): string {
  return text.replaceAll('$bucket', values.bucket)
}

function literal(name: Placeholder, values: Values): string {
  switch (name) {
    case 'from':
    case 'to':
      return `'${new Date(values[name]).toISOString()}'`
    case 'bucket':
      return `'${values.bucket}'`
    case 'simulated':
    case 'bots':
      return values[name] ? 'true' : 'false'
  }
}
