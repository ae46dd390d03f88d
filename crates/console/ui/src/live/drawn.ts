// When was what drawn? The end-to-end test and the bench read this, by the page's own clock.

export interface Drawn {
  /** The tile's title as the file has it. */
  tile: string
  version: number | string
  /** The server's clock when the rows were computed. */
  at_ms: number
  /** The page's clock (ms since 1970, with fractions) when they arrived … */
  received_ms: number
  /** … and when the frame that shows them had been painted. */
  drawn_ms: number
}

/** Old entries fall out, so that a page left open for a week does not grow. */
const RING = 2000

declare global {
  interface Window {
    __riverrun: { drawn: Drawn[] }
  }
}

const drawn: Drawn[] = []
if (typeof window !== 'undefined') window.__riverrun = { drawn }

/** Milliseconds since 1970 with sub-millisecond digits. */
export const pageNow = () => performance.timeOrigin + performance.now()

/** Call inside the animation frame in which the new state is put on the page: notes the time once it is painted. */
export function noteDrawn(updates: Omit<Drawn, 'drawn_ms'>[]): void {
  // A message posted in a frame is handled after that frame's paint.
  const { port1, port2 } = new MessageChannel()
  port1.onmessage = () => {
    const drawn_ms = pageNow()
    for (const update of updates) {
      drawn.push({ ...update, drawn_ms })
      if (drawn.length > RING) drawn.shift()
    }
    port1.close()
  }
  port2.postMessage(0)
}

/** Received → painted, of the newest entries, in ms: the page's own part of the way. */
export function drawTimes(last = 200): number[] {
  return drawn.slice(-last).map((entry) => entry.drawn_ms - entry.received_ms)
}
