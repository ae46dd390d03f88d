// One server-sent-event connection that comes back by itself.

import { loginIfNeeded } from '../shell/api'
import { type SseEvent, SseParser } from './sse'

export type StreamState =
  | { name: 'connecting' }
  | { name: 'open' }
  /** `retryAt` by the page's clock. */
  | { name: 'lost'; since: number; retryAt: number; reason: string }
  /** The server understood and said no: trying again would not help. */
  | { name: 'refused'; reason: string }

export interface Stream {
  close(): void
  retryNow(): void
}

export interface Handlers {
  onEvent(event: SseEvent, receivedAt: number): void
  onState(state: StreamState): void
  /** Any sign of life, comments included. */
  onHeard?(at: number): void
}

/** A server that says nothing for so long, not even a comment, is taken for gone. Servers comment every 15 s. */
const SILENCE_MS = 40_000
const BACKOFF_MS = [300, 1000, 2000, 4000, 8000, 10_000]

export function openStream(url: string, handlers: Handlers): Stream {
  let closed = false
  let attempt = 0
  let abort = new AbortController()
  let timer: ReturnType<typeof setTimeout> | undefined
  let silence: ReturnType<typeof setTimeout> | undefined
  let lostSince = 0

  const heard = () => {
    clearTimeout(silence)
    silence = setTimeout(() => abort.abort('silence'), SILENCE_MS)
    handlers.onHeard?.(Date.now())
  }

  const lost = (reason: string) => {
    clearTimeout(silence)
    if (closed) return
    const base = BACKOFF_MS[Math.min(attempt, BACKOFF_MS.length - 1)] ?? 10_000
    const wait = base * (0.8 + Math.random() * 0.4)
    attempt += 1
    lostSince ||= Date.now()
    handlers.onState({ name: 'lost', since: lostSince, retryAt: Date.now() + wait, reason })
    timer = setTimeout(connect, wait)
  }

  const connect = async () => {
    if (closed) return
    clearTimeout(timer)
    abort = new AbortController()
    const { signal } = abort
    if (attempt === 0) handlers.onState({ name: 'connecting' })
    try {
      const response = await fetch(url, { signal, headers: { accept: 'text/event-stream' }, cache: 'no-store' })
      if (!response.ok || response.body === null) {
        loginIfNeeded(response.status)
        const reason = await reasonOf(response)
        if (response.status >= 400 && response.status < 500 && response.status !== 429 && response.status !== 408) {
          if (!closed) handlers.onState({ name: 'refused', reason })
          return
        }
        return lost(reason)
      }
      attempt = 0
      lostSince = 0
      handlers.onState({ name: 'open' })
      heard()
      const parser = new SseParser()
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
      for (;;) {
        const { value, done } = await reader.read()
        if (done || closed) break
        const at = performance.timeOrigin + performance.now()
        heard()
        for (const event of parser.push(value)) handlers.onEvent(event, at)
      }
      lost('the server closed the connection')
    } catch (error) {
      if (closed) return
      lost(signal.reason === 'silence' ? `nothing heard for ${SILENCE_MS / 1000} s` : 'the server cannot be reached')
      void error
    }
  }

  const retryNow = () => {
    if (closed) return
    clearTimeout(timer)
    attempt = Math.min(attempt, 1)
    void connect()
  }
  const online = () => {
    if (lostSince > 0) retryNow()
  }

  addEventListener('online', online)
  void connect()

  return {
    close() {
      closed = true
      clearTimeout(timer)
      clearTimeout(silence)
      removeEventListener('online', online)
      abort.abort('closed')
    },
    retryNow,
  }
}

/** What an error answer says, in words. */
export async function reasonOf(response: Response): Promise<string> {
  try {
    const body = (await response.json()) as { error?: { message?: string; remedy?: string } }
    if (body.error?.message) return [body.error.message, body.error.remedy].filter(Boolean).join(' ')
  } catch {
    // Not JSON: the status must do.
  }
  return `the server answered ${response.status} ${response.statusText}`.trim()
}
