// The few plain requests to the server. What is live comes through ../live.

import type { Result } from '../result/columns'

export interface TileSpec {
  title: string
  chart: 'bar' | 'bar-horizontal' | 'line' | 'number' | 'table' | 'latest'
  sql: string
  /** Columns of the twelve that the tile wishes for. */
  width?: number
  x?: string
  y?: string
  series?: string
  unit?: string
  about?: string
}

export interface DashboardSpec {
  name: string
  title?: string
  about?: string
  tiles: TileSpec[]
}

export interface Catalog {
  tables: { schema: string; name: string; columns: { name: string; type: string }[] }[]
  functions: { name: string; signature: string; about: string }[]
  streams?: (string | { name: string; shards?: number })[]
}

export interface Room {
  id: string
  counts: Record<string, number>
  rates: Record<string, number>
  lag_ms: number | null
}

export interface LedgerRow {
  table: string
  stream?: string
  received: number
  delivered: number
  filtered: number
  rejected: number
  in_flight: number
  unaccounted: number
}

export interface PipelineState {
  at_ms: number
  rooms: Room[]
  ledger: LedgerRow[]
}

export interface Health {
  status: string
  version: string
  uptime_ms: number
}

/** An error answer: `{"error": {"kind", "message", "remedy", "line", "column"}}`. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly kind: string,
    readonly remedy: string | undefined,
    readonly line: number | undefined,
    readonly column: number | undefined,
  ) {
    super(message)
  }
}

/** A session that ended: the server then answers the page itself with its login. Once, so that nothing can loop. */
export function loginIfNeeded(status: number): void {
  if (status !== 401) return
  const last = Number(sessionStorage.getItem('riverrun.login') ?? 0)
  if (Date.now() - last < 30_000) return
  sessionStorage.setItem('riverrun.login', String(Date.now()))
  location.reload()
}

export async function errorOf(response: Response): Promise<ApiError> {
  loginIfNeeded(response.status)
  let body: { error?: { kind?: string; message?: string; remedy?: string; line?: number; column?: number } } = {}
  try {
    body = (await response.json()) as typeof body
  } catch {
    // Not JSON: the status must do.
  }
  const { kind = 'internal', message = `the server answered ${response.status} ${response.statusText}`, remedy, line, column } = body.error ?? {}
  return new ApiError(message, kind, remedy, line ?? undefined, column ?? undefined)
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await fetch(path, { headers: { accept: 'application/json' }, signal: signal ?? null })
  if (!response.ok) throw await errorOf(response)
  return (await response.json()) as T
}

export const dashboards = (signal?: AbortSignal) =>
  get<DashboardSpec[] | { dashboards: DashboardSpec[] }>('/api/v1/dashboards', signal).then((all) => (Array.isArray(all) ? all : all.dashboards))
export const catalog = (signal?: AbortSignal) => get<Catalog>('/api/v1/catalog', signal)
export const health = (signal?: AbortSignal) => get<Health>('/api/v1/health', signal)
export const pipeline = (signal?: AbortSignal) => get<PipelineState>('/api/v1/pipeline', signal)

export interface Answer extends Result {
  /** The server stopped at its row limit: there is more. */
  truncated: boolean
  elapsed_ms: number
}

/** Runs one query and reads the whole answer. Aborting the signal cancels it on the server too. */
export async function sql(text: string, signal?: AbortSignal): Promise<Answer> {
  const started = performance.now()
  const response = await ask(text, 'application/json', signal)
  const body = (await response.json()) as Result & { truncated?: boolean; error?: { kind?: string; message?: string } }
  if (body.error) throw new ApiError(body.error.message ?? 'the query failed on the way', body.error.kind ?? 'internal', undefined, undefined, undefined)
  const truncated = body.truncated === true || response.headers.get('x-riverrun-truncated') === 'true'
  return { columns: body.columns, rows: body.rows, truncated, elapsed_ms: performance.now() - started }
}

export async function ask(text: string, accept: string, signal?: AbortSignal): Promise<Response> {
  const response = await fetch('/api/v1/sql', {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept },
    body: JSON.stringify({ sql: text }),
    signal: signal ?? null,
  })
  if (!response.ok) throw await errorOf(response)
  return response
}
