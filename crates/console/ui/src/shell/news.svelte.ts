// What a screen reader is told, politely, and what the whole page knows about its connections.

import { untrack } from 'svelte'
import type { StreamState } from '../live/stream'

let said = $state('')
let lastAt = 0

/** Says something in the polite live region. `every_ms` keeps a lively source from talking without end. */
export function announce(text: string, every_ms = 0): void {
  const now = Date.now()
  if (now - lastAt < every_ms) return
  lastAt = now
  said = text
}

export const news = {
  get said() {
    return said
  },
}

let states = $state.raw<Record<string, StreamState & { retryNow: () => void }>>({})

/** Reports the state of one of the page's streams, by name; null when it is closed for good. */
export function report(name: string, state: StreamState | null, retryNow: () => void = () => undefined): void {
  const known = untrack(() => states)
  const before = known[name]?.name
  const next = { ...known }
  if (state === null) delete next[name]
  else next[name] = { ...state, retryNow }
  states = next
  if (state?.name === 'lost' && before === 'open') announce('Connection to the server lost. Trying again.')
  if (state?.name === 'open' && before === 'lost') announce('Connected to the server again.')
}

export const connection = {
  /** The worst of all streams: lost, connecting, open, or none. */
  get overall(): 'lost' | 'connecting' | 'open' | 'none' {
    const all = Object.values(states)
    if (all.length === 0) return 'none'
    if (all.some((s) => s.name === 'lost')) return 'lost'
    return all.some((s) => s.name === 'connecting') ? 'connecting' : 'open'
  },
  get lost() {
    for (const s of Object.values(states)) if (s.name === 'lost') return s
    return null
  },
}
