// How old is what we see? Measured by two clocks that may disagree.

/** Clocks that differ by less than this are taken as one; it is also the error we admit. */
const TOLERANCE_MS = 1000

/**
 * The offset between the server's clock and this page's. The fastest of the last messages travelled nearly as fast as
 * light: what remains of its (arrival − departure) is the difference of the clocks.
 */
export class ClockOffset {
  #recent: number[] = []

  heard(serverAt: number, pageAt: number): void {
    this.#recent.push(pageAt - serverAt)
    if (this.#recent.length > 64) this.#recent.shift()
  }

  /** Page time minus server time, in ms. Zero while the two agree as far as can be seen. */
  get ms(): number {
    if (this.#recent.length === 0) return 0
    const least = Math.min(...this.#recent)
    return least < -5 || least > TOLERANCE_MS ? least : 0
  }

  /** The age, at page time `now`, of something the server dated `serverAt`. Never negative. */
  age(serverAt: number, now: number): number {
    return Math.max(0, now - serverAt - this.ms)
  }
}
