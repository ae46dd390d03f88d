// A record's payload as a person reads it: its fields by name, where the format says which they are.

/** The published real-time log fields of a CDN, by number; a record's `fields` header lists which of them it has. */
const FIELDS = (
  'timestamp c-ip s-ip time-to-first-byte sc-status sc-bytes cs-method cs-protocol cs-host cs-uri-stem cs-bytes x-edge-location ' +
  'x-edge-request-id x-host-header time-taken cs-protocol-version c-ip-version cs-user-agent cs-referer cs-cookie cs-uri-query ' +
  'x-edge-response-result-type x-forwarded-for ssl-protocol ssl-cipher x-edge-result-type fle-encrypted-fields fle-status ' +
  'sc-content-type sc-content-len sc-range-start sc-range-end c-port x-edge-detailed-result-type c-country cs-accept-encoding ' +
  'cs-accept cache-behavior-path-pattern cs-headers cs-header-names cs-headers-count'
).split(' ')

export interface Part {
  name: string
  value: string
}

export function partsOf(payload: string, format: string, fields?: string): Part[] {
  if (format === 'cdn') {
    const names = (fields ?? '').split(',').map((number) => FIELDS[Number(number) - 1])
    return payload.replace(/\n$/, '').split('\t').map((value, i) => ({ name: names[i] ?? `field ${i + 1}`, value: decoded(value) }))
  }
  if (format === 'json' || format === 'ndjson') {
    try {
      const body: unknown = JSON.parse(payload)
      if (typeof body === 'object' && body !== null && !Array.isArray(body))
        return Object.entries(body).map(([name, value]) => ({ name, value: typeof value === 'string' ? value : JSON.stringify(value) }))
    } catch {
      // Not JSON after all: the raw text is shown.
    }
  }
  return []
}

function decoded(text: string): string {
  if (!text.includes('%')) return text
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** When the edge answered, if the payload says so: ms since 1970. */
export function edgeTime(parts: Part[]): number | null {
  const value = parts.find((part) => part.name === 'timestamp' || part.name === 'field 1')?.value ?? ''
  return /^\d{9,11}\.\d+$/.test(value) ? Math.round(Number(value) * 1000) : null
}

/** One line for the list: what matters of a request line, or the text itself. */
export function lineOf(payload: string, format: string): string {
  return format === 'cdn' ? payload.replaceAll('\t', '  ').replace(/%20/g, ' ') : payload
}
