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

/** Which of the twelve a series has: its place in the alphabet, so that it keeps it. 0 is the colour of the rest. */
export const colourClass = (name: string, place: number) => (name === OTHERS ? 0 : (place % 12) + 1)
