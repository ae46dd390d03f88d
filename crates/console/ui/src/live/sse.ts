// Server-sent events from a byte stream. The browser's own EventSource hides comments, and comments are how a quiet
// server says that it is still there: freshness can only be measured by someone who hears them.

export interface SseEvent {
  event: string
  data: string
  id: string
}

/** Feeds on text as it arrives, in any pieces; hands out whole events. Follows the HTML standard, section 9.2.6. */
export class SseParser {
  #rest = ''
  #event = ''
  #data: string[] = []
  #id = ''
  #first = true
  /** The last `retry:` in milliseconds, if the server sent one. */
  retry: number | null = null
  /** Comment lines heard so far. */
  comments = 0

  push(text: string): SseEvent[] {
    let buffer = this.#rest + text
    if (this.#first && buffer.length > 0) {
      this.#first = false
      if (buffer.charCodeAt(0) === 0xfeff) buffer = buffer.slice(1)
    }
    const events: SseEvent[] = []
    let start = 0
    for (let i = 0; i < buffer.length; i += 1) {
      const code = buffer.charCodeAt(i)
      if (code !== 10 && code !== 13) continue
      // A carriage return at the very end may be the first half of CRLF: wait for what follows.
      if (code === 13 && i === buffer.length - 1) break
      this.#line(buffer.slice(start, i), events)
      if (code === 13 && buffer.charCodeAt(i + 1) === 10) i += 1
      start = i + 1
    }
    this.#rest = buffer.slice(start)
    return events
  }

  #line(line: string, events: SseEvent[]): void {
    if (line === '') {
      if (this.#data.length > 0) {
        events.push({ event: this.#event || 'message', data: this.#data.join('\n'), id: this.#id })
      }
      this.#event = ''
      this.#data = []
      return
    }
    const colon = line.indexOf(':')
    if (colon === 0) {
      this.comments += 1
      return
    }
    const field = colon < 0 ? line : line.slice(0, colon)
    let value = colon < 0 ? '' : line.slice(colon + 1)
    if (value.startsWith(' ')) value = value.slice(1)
    if (field === 'event') this.#event = value
    else if (field === 'data') this.#data.push(value)
    else if (field === 'id' && !value.includes('\0')) this.#id = value
    else if (field === 'retry' && /^\d+$/.test(value)) this.retry = Number(value)
  }
}
