// A live stream that a page shows: how it fares stands in the shell's news, under the page's name.

import { report } from '../shell/news.svelte'
import { whileSeen } from './seen'
import { type Handlers, openStream, type Stream } from './stream'

/** Opens it. A refusal is the page's own to tell, for it concerns what was asked and not the connection. */
export function openPageStream(page: string, url: string, handlers: Handlers): Stream {
  const stream = openStream(url, {
    ...handlers,
    onState: (state) => {
      report(page, state.name === 'refused' ? null : state, () => stream.retryNow())
      handlers.onState(state)
    },
  })
  return {
    retryNow: () => stream.retryNow(),
    close: () => {
      stream.close()
      report(page, null)
    },
  }
}

/** As above, for a page that is as good as new when it begins anew: out of sight for long, it rests. */
export function openPageStreamWhileSeen(page: string, url: string, handlers: Handlers): Stream {
  return whileSeen(() => openPageStream(page, url, handlers))
}
