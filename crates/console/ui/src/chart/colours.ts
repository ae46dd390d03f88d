// The colours of the page as the canvas needs them: as values.

import { OTHERS } from '../result/pivot'

export interface Colours {
  series: string[]
  others: string
  ink: string
  quiet: string
  line: string
  surface: string
  sans: string
}

export function readColours(): Colours {
  const style = getComputedStyle(document.documentElement)
  const value = (name: string) => style.getPropertyValue(name).trim()
  return {
    series: Array.from({ length: 12 }, (_, i) => value(`--c${i + 1}`)),
    others: value('--c-other'),
    ink: value('--ink'),
    quiet: value('--ink-3'),
    line: value('--line'),
    surface: value('--surface'),
    sans: getComputedStyle(document.body).fontFamily,
  }
}

/** How many series can be told apart. */
const SLOTS = 12
/** Names remembered per column; more would be a mistake in the query rather than series. */
const REMEMBERED_MAX = 1000

const remembered = new Map<string, Map<string, number>>()

/**
 * The colour of each series, 1 to 12, or 0 for the rest. A name keeps its colour while the page is open, in every chart
 * over the same column, whatever comes beside it; only two of one colour in the same chart are kept apart.
 */
export function slotsOf(by: string, names: string[], memory = remembered): number[] {
  let known = memory.get(by)
  if (known === undefined) memory.set(by, (known = new Map()))
  const taken = new Set<number>()
  const slots = names.map((name) => {
    const slot = name === OTHERS ? 0 : known.get(name)
    if (slot === undefined || (slot !== 0 && taken.has(slot))) return -1
    taken.add(slot)
    return slot
  })
  let next = 1
  return slots.map((slot, i) => {
    if (slot >= 0) return slot
    while (taken.has(next) && next < SLOTS) next += 1
    taken.add(next)
    const name = names[i] ?? ''
    if (!known.has(name) && known.size < REMEMBERED_MAX) known.set(name, next)
    return next
  })
}
