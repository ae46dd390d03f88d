// Where we are, in the address: #/dashboard/shop?range=day&bots=1. A link to a page is a link to what it shows.

export interface Route {
  page: string
  /** What follows the page's name: a dashboard, a stream. */
  part: string
  query: URLSearchParams
}

function read(): Route {
  const hash = location.hash.replace(/^#\/?/, '')
  const cut = hash.indexOf('?')
  const path = (cut < 0 ? hash : hash.slice(0, cut)).split('/').filter(Boolean).map(decodeURIComponent)
  return { page: path[0] ?? 'dashboard', part: path[1] ?? '', query: new URLSearchParams(cut < 0 ? '' : hash.slice(cut + 1)) }
}

let current = $state.raw(read())
addEventListener('hashchange', () => {
  current = read()
})

export const route = {
  get page() {
    return current.page
  },
  get part() {
    return current.part
  },
  get query() {
    return current.query
  },
}

export function address(page: string, part = '', query?: Record<string, string | undefined>): string {
  const words = new URLSearchParams()
  for (const [name, value] of Object.entries(query ?? {})) if (value !== undefined && value !== '') words.set(name, value)
  const text = words.toString()
  return `#/${page}${part === '' ? '' : `/${encodeURIComponent(part)}`}${text === '' ? '' : `?${text}`}`
}

/** Changes what the address says about this page without adding to the history. */
export function restate(query: Record<string, string | undefined>): void {
  const all: Record<string, string | undefined> = { ...Object.fromEntries(current.query), ...query }
  history.replaceState(null, '', address(current.page, current.part, all))
  current = read()
}
