// A live stream that rests while nobody sees its page.
//
// A browser opens six connections to a server that speaks HTTP/1.1, for all of its tabs together, and a live page holds one.
// Forgotten tabs would leave none for the seventh, which would then not even load.

import type { Stream } from './stream'

/** A page out of sight for so long rests. Shorter looks elsewhere should not cost a new start. */
export const REST_AFTER_MS = 30_000

/** Opens a stream again and again: closed while the page has been out of sight for long, opened anew once it is seen. */
export function whileSeen(open: () => Stream): Stream {
  let stream: Stream | null = open()
  let timer: ReturnType<typeof setTimeout> | undefined
  const rest = () => {
    stream?.close()
    stream = null
  }
  const look = () => {
    clearTimeout(timer)
    if (document.hidden) timer = setTimeout(rest, REST_AFTER_MS)
    else stream ??= open()
  }
  document.addEventListener('visibilitychange', look)
  look()
  return {
    retryNow: () => stream?.retryNow(),
    close: () => {
      clearTimeout(timer)
      document.removeEventListener('visibilitychange', look)
      rest()
    },
  }
}
