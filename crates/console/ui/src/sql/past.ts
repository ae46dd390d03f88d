// What was run before, in this browser.

export interface Run {
  sql: string
  at: number
  ms: number
  rows: number | null
}

const RUNS = 'riverrun.sql.history'
const DRAFT = 'riverrun.sql.draft'
const KEPT = 60

export function runs(): Run[] {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(RUNS) ?? '[]')
    return Array.isArray(stored) ? (stored as Run[]).filter((run) => typeof run.sql === 'string') : []
  } catch {
    return []
  }
}

/** Notes a run; the same text again moves to the top. */
export function note(run: Run): Run[] {
  const all = [run, ...runs().filter((other) => other.sql !== run.sql)].slice(0, KEPT)
  store(RUNS, JSON.stringify(all))
  return all
}

export function forget(): Run[] {
  store(RUNS, '[]')
  return []
}

export const draft = () => {
  try {
    return localStorage.getItem(DRAFT) ?? ''
  } catch {
    return ''
  }
}
export const keepDraft = (text: string) => store(DRAFT, text)

function store(key: string, value: string) {
  try {
    localStorage.setItem(key, value)
  } catch {
    // Full or forbidden: the history is a convenience.
  }
}
