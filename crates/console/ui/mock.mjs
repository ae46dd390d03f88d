// A stand-in for the server, for work on the pages alone: `npm run build && npm run mock`, or `npm run mock` beside
// `npm run dev`. It answers the HTTP API with plausible, moving data. No engine: queries are recognised, not executed.
//
//   --port N        7070 by default
//   --rate N        clicks per second, 0.6 by default
//   --empty         nothing has happened yet
//   --no-dashboard  the file declares none
//   --behind        delivery lags

import { createReadStream, existsSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import { extname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { standInStreams } from './mock-streams.mjs'

const flag = (name) => process.argv.includes(`--${name}`)
const option = (name, fallback) => (flag(name) ? Number(process.argv[process.argv.indexOf(`--${name}`) + 1]) : fallback)
const PORT = option('port', 7070)
const RATE = option('rate', 0.6)
const DIST = join(fileURLToPath(new URL('.', import.meta.url)), 'dist')
const CSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

const PRODUCTS = [
  ['p01', 'Breakfast tea', 7.5, 10], ['p02', 'Soda bread', 4.2, 8], ['p03', 'Sea salt', 5.9, 5], ['p04', 'Wool blanket', 89, 4],
  ['p05', 'Oilskin hat', 46, 3], ['p06', 'Copper kettle', 72, 5], ['p07', 'Heather honey', 9.8, 9], ['p08', 'Rain umbrella', 34, 7],
  ['p09', 'Fisherman’s jumper', 118, 6], ['p10', 'Tin whistle', 14, 4], ['p11', 'Blackthorn stick', 55, 2], ['p12', 'Marmalade', 6.4, 6],
]
const BROWSERS = ['Firefox', 'Chrome', 'Safari', 'Edge', 'Samsung Internet']
const OSES = ['Windows', 'macOS', 'Android', 'iOS', 'Linux']
const MINUTE = 60_000, HOUR = 3_600_000, DAY = 86_400_000

let seed = 7
const random = () => ((seed = (seed * 1664525 + 1013904223) >>> 0) / 2 ** 32)
const pick = (all) => all[Math.floor(random() * all.length)]
const weights = PRODUCTS.reduce((sum, p) => sum + p[3], 0)
const product = () => {
  let at = random() * weights
  return PRODUCTS.find((p) => (at -= p[3]) < 0) ?? PRODUCTS[0]
}
const daylight = (at) => 0.25 + Math.max(0, Math.sin(((at % DAY) / DAY) * 2 * Math.PI - 1.9)) + 0.5 * Math.max(0, Math.sin(((at % DAY) / HOUR - 17) / 2.2))

let version = 100, pushed = 100
const clicks = []
let serial = 0
function click(at) {
  const p = product()
  const buys = random() < 0.06 + (Number(p[0].slice(1)) % 4) * 0.03
  const bot = random() < 0.08
  serial += 1
  clicks.push({
    event_time: at, arrival_time: at + 4 + Math.floor(random() * 9), action: buys && !bot ? 'buy' : 'view', product_id: p[0], product_name: p[1], price: p[2],
    visitor: `v${Math.floor(random() * 4000)}`, browser: bot ? 'Bot' : pick(BROWSERS), os: pick(OSES), device: random() < 0.5 ? 'phone' : 'desktop', is_bot: bot,
    referer: '', simulated: random() < 0.97, request_id: serial.toString(36).padStart(8, '0') + Math.floor(random() * 2 ** 32).toString(16),
  })
}
if (!flag('empty')) {
  const now = Date.now()
  for (let at = now - 8 * DAY; at < now; at += MINUTE) for (let n = daylight(at) * 22 * random() * 2; n > 1; n -= 1) click(at + Math.floor(random() * MINUTE))
  clicks.sort((a, b) => a.event_time - b.event_time)
}
const iso = (at) => new Date(at).toISOString().replace('Z', '')
const listeners = new Set()
const tails = new Set()
if (!flag('empty'))
  setInterval(() => {
    let n = RATE / 10
    for (; n > random(); n -= 1) {
      click(Date.now())
      for (const tail of tails) tail(clicks.at(-1))
      version += 1
    }
    if (version !== pushed) for (const listener of listeners) listener()
    pushed = version
  }, 100)

// ---- queries, recognised ----

const T = (name) => ({ name, type: 'timestamp' }), S = (name) => ({ name, type: 'text' }), I = (name) => ({ name, type: 'bigint' }), F = (name) => ({ name, type: 'double' }), B = (name) => ({ name, type: 'boolean' })

function within(sql) {
  const from = /event_time >= '([^']+)'/.exec(sql)?.[1], to = /event_time < '([^']+)'/.exec(sql)?.[1]
  const low = from ? Date.parse(from) : 0, high = to ? Date.parse(to) : Infinity
  const bots = !/\(false or not is_bot\)/.test(sql), simulated = !/\(false or not simulated\)/.test(sql)
  return clicks.filter((c) => c.event_time >= low && c.event_time < high && (bots || !c.is_bot) && (simulated || !c.simulated))
}
function group(rows, key) {
  const groups = new Map()
  for (const row of rows) {
    const k = key(row)
    if (!groups.has(k)) groups.set(k, [])
    groups.get(k).push(row)
  }
  return groups
}
const views = (rows) => rows.filter((c) => c.action === 'view').length
const bought = (rows) => rows.filter((c) => c.action === 'buy')
const sum = (rows) => Math.round(bought(rows).reduce((total, c) => total + c.price, 0) * 100) / 100

function answer(sql) {
  const bucket = { minute: MINUTE, hour: HOUR, day: DAY }[/date_trunc\('(\w+)'/.exec(sql)?.[1]]
  const rows = within(sql)
  if (bucket && /product_name/.test(sql)) {
    const groups = group(rows, (c) => `${Math.floor(c.event_time / bucket) * bucket}|${c.product_name}`)
    return { columns: [T('time'), S('product'), I('clicks')], rows: [...groups].map(([k, all]) => [iso(Number(k.split('|')[0])), k.split('|')[1], all.length]) }
  }
  if (bucket) return { columns: [T('time'), F('revenue_eur')], rows: [...group(rows, (c) => Math.floor(c.event_time / bucket) * bucket)].sort((a, b) => a[0] - b[0]).map(([k, all]) => [iso(k), sum(all)]) }
  if (/revenue_eur/.test(sql) && !/group by/.test(sql)) {
    const b = bought(rows).length, v = views(rows)
    return { columns: [I('clicks'), I('views'), I('buys'), F('conversion'), F('revenue_eur'), I('visitors')], rows: rows.length ? [[rows.length, v, b, v ? b / v : 0, sum(rows), new Set(rows.map((c) => c.visitor)).size]] : [] }
  }
  if (/conversion/.test(sql)) return { columns: [S('product'), I('views'), I('buys'), F('conversion')], rows: [...group(rows, (c) => c.product_name)].map(([k, all]) => [k, views(all), bought(all).length, views(all) ? bought(all).length / views(all) : 0]).sort((a, b) => b[1] - a[1]) }
  if (/revenue/.test(sql) && /group by/.test(sql)) return { columns: [S('product'), F('revenue_eur'), I('sold')], rows: [...group(rows, (c) => c.product_name)].map(([k, all]) => [k, sum(all), bought(all).length]).sort((a, b) => b[1] - a[1]) }
  if (/group by 1/.test(sql)) return { columns: [S('product'), I('clicks')], rows: [...group(rows, (c) => c.product_name)].map(([k, all]) => [k, all.length]).sort((a, b) => b[1] - a[1]) }
  const limit = Number(/limit (\d+)/i.exec(sql)?.[1] ?? 10_000)
  const columns = [T('event_time'), S('action'), S('product_name'), F('price'), S('browser'), S('os'), S('device'), B('is_bot'), B('simulated'), S('request_id')]
  return { columns, rows: rows.slice(-limit).reverse().map((c) => columns.map(({ name, type }) => (type === 'timestamp' ? iso(c[name]) : c[name]))), truncated: rows.length > limit && limit === 10_000 }
}

const WHERE = "where event_time >= $from and event_time < $to\n  and ($simulated or not simulated) and ($bots or not is_bot)"
const DASHBOARDS = flag('no-dashboard') ? [] : [
  { name: 'shop', title: 'Shop now', about: 'What visitors of the demo shop look at and buy, as it happens.', tiles: [
    { title: 'So far', chart: 'number', sql: `select count(*) as clicks,\n  count(*) filter (where action = 'view') as views,\n  count(*) filter (where action = 'buy') as buys,\n  … as conversion, sum(price) filter (where action = 'buy') as revenue_eur,\n  count(distinct visitor) as visitors\nfrom clicks\n${WHERE}` },
    { title: 'Clicks by $bucket and product', chart: 'bar', sql: `select date_trunc($bucket, event_time) as time, product_name as product, count(*) as clicks\nfrom clicks\n${WHERE}\ngroup by 1, 2\norder by 1, 2` },
    { title: 'Views against buys', chart: 'bar-horizontal', about: 'Buys lie inside views; the share is the conversion.', sql: `select product_name as product,\n  count(*) filter (where action = 'view') as views,\n  count(*) filter (where action = 'buy') as buys,\n  … as conversion\nfrom clicks\n${WHERE}\ngroup by 1\norder by 2 desc` },
    { title: 'Top products', chart: 'bar-horizontal', sql: `select product_name as product, sum(price) filter (where action = 'buy') as revenue_eur, count(*) filter (where action = 'buy') as sold\nfrom clicks\n${WHERE}\ngroup by 1\norder by 2 desc` },
    { title: 'Revenue by $bucket', chart: 'line', width: 12, sql: `select date_trunc($bucket, event_time) as time, sum(price) as revenue_eur\nfrom clicks\n${WHERE}\n  and action = 'buy'\ngroup by 1\norder by 1` },
    { title: 'Latest clicks', chart: 'latest', sql: `select event_time, action, product_name, price, browser, os, device, is_bot, simulated, request_id\nfrom clicks\n${WHERE}\norder by event_time desc\nlimit 15` },
  ] },
]

const CATALOG = {
  streams: [{ name: 'clicks', shards: 2 }, { name: 'orders', shards: 1 }],
  tables: [
    { schema: 'public', name: 'clicks', columns: [T('event_time'), T('arrival_time'), S('action'), S('product_id'), S('product_name'), F('price'), S('visitor'), S('browser'), S('os'), S('device'), B('is_bot'), S('referer'), B('simulated'), S('request_id'), I('year'), I('month'), I('day'), I('hour')] },
    { schema: 'system', name: 'rejected', columns: [S('table'), S('stream'), I('shard'), I('offset'), T('arrival_time'), S('reason'), S('payload')] },
    { schema: 'system', name: 'runs', columns: [S('table'), S('kind'), T('started'), I('duration_ms'), I('files_before'), I('files_after')] },
    { schema: 'system', name: 'ledger', columns: [S('table'), I('received'), I('delivered'), I('filtered'), I('rejected'), I('in_flight'), I('unaccounted')] },
  ],
  functions: [
    { name: 'query_param', signature: 'query_param(query, name)', about: 'The value of a query parameter, decoded.' },
    { name: 'ua_browser', signature: 'ua_browser(user_agent)', about: 'The browser family.' },
    { name: 'is_bot', signature: 'is_bot(user_agent)', about: 'Whether the agent is a known bot.' },
    { name: 'tumble', signature: 'tumble(time, interval)', about: 'The start of the window that a time falls into.' },
    { name: 'date_trunc', signature: 'date_trunc(unit, time)', about: 'A time cut to a unit.' },
    { name: 'count', signature: 'count(*)', about: 'The number of rows.' },
  ],
}

const streams = standInStreams(RATE, flag('empty'))
const summary = (stream) => {
  const { shards, reading, limits, at_ms, ...rest } = streams.state(stream, flag('behind'))
  return rest
}

const began = Date.now()
function pipeline() {
  const n = clicks.length, filtered = Math.floor(n * 0.31), rejected = flag('empty') ? 0 : 3, wave = flag('empty') ? 0 : RATE * (0.85 + random() * 0.3)
  const flight = flag('empty') ? 0 : Math.floor(random() * 3)
  return {
    at_ms: Date.now(),
    rooms: [
      { id: 'edge', counts: { requests: n * 2 + 811, log_logged: n + filtered + rejected + flight, log_dropped: 0, log_sampled_out: 0, log_queue_lines: flight, cache_hits: n * 2, collect_accepted_records: 0 }, rates: { requests: wave * 1.4, log_logged: wave * 1.31, log_dropped: 0, cache_hits: wave * 1.3 }, lag_ms: null },
      { id: 'stream', counts: { appended_records: n + filtered + rejected + flight, appended_bytes: (n + filtered) * 412, waiting_bytes: 0 }, rates: { appended_records: wave * 1.31, appended_bytes: wave * 540 }, lag_ms: null },
      { id: 'deliver', counts: { rows: n, filtered_records: filtered, rejected_records: rejected, in_flight_records: flight, lag_ms: 9 }, rates: { rows: wave, filtered_records: wave * 0.31, rejected_records: 0 }, lag_ms: flag('empty') ? null : flag('behind') ? 4200 : 8 + random() * 20 },
      { id: 'lake', counts: { flushed_rows: n, tail_rows: flag('empty') ? 0 : (n * 7) % 31, tail_bytes: ((n * 7) % 31) * 190, files: 212, version: 1841 }, rates: { flushed_rows: wave }, lag_ms: flag('empty') ? null : 2000 + ((Date.now() / 1000) % 8) * 1000 },
      { id: 'query', counts: { answered: 5120 + Math.floor((Date.now() - began) / 300), failed: 2, running: 1 }, rates: { answered: 5 + random() * 3 }, lag_ms: null },
      { id: 'console', counts: { live_subscribers: listeners.size, live_pushes: 9120 }, rates: { live_pushes: 6 + random() * 2 }, lag_ms: null },
    ],
    ledger: [
      { table: 'clicks', stream: 'clicks', received: n + filtered + rejected + flight, delivered: n, filtered, rejected, in_flight: flight, unaccounted: 0 },
      { table: 'visits', stream: 'clicks', received: n + filtered + rejected + flight, delivered: n + filtered, filtered: 0, rejected: rejected + flight, in_flight: 0, unaccounted: 0 },
    ],
  }
}

// ---- records ----

function recordOf(c, offset) {
  const stem = `/action?action=${c.action}&product_id=${c.product_id}&product_name=${encodeURIComponent(c.product_name)}&price=${c.price}`
  const payload = [(c.event_time / 1000).toFixed(3), '203.0.113.7', '200', 'GET', stem, c.request_id, `Mozilla/5.0%20(${c.os})%20${c.browser}`, '-', stem.split('?')[1]].join('\t')
  return { shard: offset % 2, offset, arrival_ms: c.arrival_time, id: c.request_id, format: 'cdn', simulated: c.simulated, bytes: payload.length, fields: '1,2,5,7,10,13,18,19,21', payload }
}

/** A page of what lies in the stream, from a place on. */
function past(query) {
  const limit = Number(query.get('limit') ?? 100), filter = query.get('filter') ?? ''
  const number = (name) => Number(query.get(name))
  let place = query.has('cursor') ? number('cursor') : query.has('at_ms') ? clicks.findIndex((c) => c.arrival_time >= number('at_ms')) : number('offset')
  if (place < 0) place = clicks.length
  const records = []
  const begin = place
  for (; place < clicks.length && records.length < limit && place - begin < 5000; place += 1) {
    const record = recordOf(clicks[place], place)
    if (!filter || record.payload.toLowerCase().includes(filter.toLowerCase())) records.push(record)
  }
  return { records, searched: place - begin, cursor: String(place), left: clicks.length - place }
}

// ---- the doors ----

const json = (res, body, status = 200) => res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
function live(req, res) {
  res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
  res.flushHeaders()
  const beat = setInterval(() => res.write(': here\n\n'), 15_000)
  req.on('close', () => clearInterval(beat))
  return (event, data) => res.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`)
}
const body = (req) => new Promise((done) => { let text = ''; req.on('data', (d) => (text += d)); req.on('end', () => done(text)) })
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' }
const cell = (v) => (v === null ? '' : /[",\n]/.test(String(v)) ? `"${String(v).replaceAll('"', '""')}"` : String(v))

createServer(async (req, res) => {
  const url = new URL(req.url, 'http://localhost')
  const path = url.pathname
  if (path === '/api/v1/health') return json(res, { status: 'ok', version: '0.1.0-mock', uptime_ms: Date.now() - began })
  if (path === '/api/v1/dashboards') return json(res, DASHBOARDS)
  if (path === '/api/v1/catalog') return json(res, CATALOG)
  if (path === '/api/v1/pipeline') return json(res, pipeline())
  if (path === '/api/v1/live/pipeline') {
    const send = live(req, res)
    send('pipeline', pipeline())
    const timer = setInterval(() => send('pipeline', pipeline()), 1000)
    req.on('close', () => clearInterval(timer))
    return
  }
  if (path === '/api/v1/plan') return json(res, streams.plan(url.searchParams))
  if (path === '/api/v1/live/streams') {
    const send = live(req, res)
    const push = () => send('streams', { at_ms: Date.now(), streams: [...streams.all.values()].map(summary) })
    push()
    const timer = setInterval(push, 1000)
    req.on('close', () => clearInterval(timer))
    return
  }
  const place = /^\/api\/v1\/(live\/)?streams\/([^/]+)(?:\/(\w+))?$/.exec(path)
  if (place) {
    const stream = streams.all.get(decodeURIComponent(place[2]))
    if (req.method === 'POST') {
      const [status, answer] = streams.change(place[2], place[3], JSON.parse(await body(req)))
      return json(res, answer, status)
    }
    if (!stream) return json(res, { error: { kind: 'not found', message: `there is no stream "${place[2]}"`, remedy: 'Streams here: clicks, orders' } }, 404)
    if (place[3] === 'records') return json(res, past(url.searchParams))
    if (!place[1]) return json(res, streams.state(stream, flag('behind')))
    const send = live(req, res)
    const push = () => send('stream', streams.state(stream, flag('behind')))
    push()
    const timer = setInterval(push, 1000)
    req.on('close', () => clearInterval(timer))
    return
  }
  if (path === '/api/v1/live/sql') {
    const queries = JSON.parse(url.searchParams.get('q') ?? '[]')
    const send = live(req, res)
    const sent = queries.map(() => '')
    const push = () =>
      queries.forEach((sql, query) => {
        const got = answer(sql)
        const text = JSON.stringify(got.rows)
        if (text === sent[query]) return
        sent[query] = text
        send('rows', { query, ...got, version, at_ms: Date.now() })
      })
    push()
    listeners.add(push)
    req.on('close', () => listeners.delete(push))
    return
  }
  if (path.startsWith('/api/v1/live/tail/')) {
    const send = live(req, res)
    const filter = url.searchParams.get('filter') ?? ''
    let offset = 81_200
    const show = (c) => {
      const record = recordOf(c, offset)
      if (filter && !record.payload.includes(filter)) return
      offset += 1
      send('record', record)
      if (offset % 40 === 0) send('skipped', { shown: 1, of: 3 })
    }
    clicks.slice(-25).forEach(show)
    tails.add(show)
    req.on('close', () => tails.delete(show))
    return
  }
  if (path === '/api/v1/sql' && req.method === 'POST') {
    const text = await body(req)
    const sql = text.startsWith('{') ? JSON.parse(text).sql : text
    if (/sleep/.test(sql)) await new Promise((done) => setTimeout(done, 8000))
    const bad = /\b(produkt|delete|drop|insert)\b/i.exec(sql)
    if (bad) {
      const before = sql.slice(0, bad.index).split('\n')
      return json(res, { error: { kind: 'invalid', message: `No column named "${bad[0]}" in table clicks.`, remedy: 'Did you mean product_id or product_name?', line: before.length, column: before.at(-1).length + 1 } }, 400)
    }
    const got = answer(sql)
    if (req.headers.accept === 'text/csv') return res.writeHead(200, { 'content-type': 'text/csv' }).end([got.columns.map((c) => c.name), ...got.rows].map((r) => r.map(cell).join(',')).join('\n'))
    if (req.headers.accept === 'application/x-ndjson') return res.writeHead(200, { 'content-type': 'application/x-ndjson' }).end(got.rows.map((r) => JSON.stringify(Object.fromEntries(got.columns.map((c, i) => [c.name, r[i]])))).join('\n'))
    return json(res, got)
  }
  if (path.startsWith('/api/')) return json(res, { error: { kind: 'invalid', message: `There is nothing at ${path}.` } }, 404)
  const file = normalize(join(DIST, path === '/' ? 'index.html' : decodeURIComponent(path)))
  if (!file.startsWith(DIST) || !existsSync(file) || !statSync(file).isFile()) return res.writeHead(404).end('not found')
  res.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream', 'content-security-policy': CSP, 'x-content-type-options': 'nosniff' })
  createReadStream(file).pipe(res)
}).listen(PORT, '127.0.0.1', () => process.stdout.write(`http://127.0.0.1:${PORT} (mock)\n`))
