// The stand-in's streams: shards that split and merge, with a heat that moves. Not the server's rules, only its shapes.

const SPACE = 1n << 128n
const HOUR = 3_600_000

export function standInStreams(rate, isEmpty) {
  const began = Date.now() - 30 * HOUR
  const made = (name, settings) => ({ name, mode: 'provisioned', created_ms: began, retention_ms: 7 * 24 * HOUR, shards: [], next: 0, weights: new Map(), ...settings })
  const clicks = made('clicks', {})
  const orders = made('orders', { mode: 'on-demand', retention_ms: 30 * 24 * HOUR })
  const all = new Map([clicks, orders].map((stream) => [stream.name, stream]))

  function add(stream, start, end, parents, at, records = 0) {
    const shard = { shard: stream.next, name: `shardId-${String(stream.next).padStart(12, '0')}`, begin: start, last: end, parents, created_ms: at, closed_ms: null, start: 0, end: records, fed: at }
    stream.next += 1
    stream.shards.push(shard)
    stream.weights.set(shard.shard, 0.4 + ((shard.shard * 7) % 5) / 4)
    return shard
  }
  const close = (shard, at) => (shard.closed_ms = at)
  function split(stream, number, cut, at = Date.now()) {
    const shard = stream.shards.find((s) => s.shard === number && s.closed_ms === null)
    if (!shard) return `shard ${number} of ${stream.name} is not open`
    const middle = cut ?? shard.begin + (shard.last - shard.begin + 1n) / 2n
    if (middle <= shard.begin || middle > shard.last) return `expected a hash within ${shard.begin + 1n} to ${shard.last}, found ${middle}`
    close(shard, at)
    add(stream, shard.begin, middle - 1n, [number], at)
    add(stream, middle, shard.last, [number], at)
    return null
  }
  function merge(stream, one, other, at = Date.now()) {
    const pair = stream.shards.filter((s) => (s.shard === one || s.shard === other) && s.closed_ms === null).sort((a, b) => (a.begin < b.begin ? -1 : 1))
    if (pair.length !== 2 || pair[0].last + 1n !== pair[1].begin) return `shards ${one} and ${other} are no open neighbours`
    pair.forEach((shard) => close(shard, at))
    add(stream, pair[0].begin, pair[1].last, pair.map((s) => s.shard), at)
    return null
  }
  const open = (stream) => stream.shards.filter((s) => s.closed_ms === null)
  const widest = (stream) => open(stream).reduce((a, b) => (b.last - b.begin > a.last - a.begin ? b : a))
  function reshape(stream, wanted) {
    while (open(stream).length < wanted) split(stream, widest(stream).shard)
    while (open(stream).length > wanted) {
      const sorted = open(stream).sort((a, b) => (a.begin < b.begin ? -1 : 1))
      let best = 0
      for (let i = 1; i + 1 < sorted.length; i += 1) if (sorted[i + 1].last - sorted[i].begin < sorted[best + 1].last - sorted[best].begin) best = i
      merge(stream, sorted[best].shard, sorted[best + 1].shard)
    }
  }
  const half = SPACE / 2n
  add(clicks, 0n, half - 1n, [], began, isEmpty ? 0 : 48_112)
  add(clicks, half, SPACE - 1n, [], began, isEmpty ? 0 : 51_870)
  add(orders, 0n, SPACE - 1n, [], began, isEmpty ? 0 : 912)
  if (!isEmpty) {
    split(clicks, 0, null, began + 4 * HOUR)
    split(clicks, 1, null, began + 4 * HOUR + 200)
    split(clicks, 4, half + half / 8n, began + 21 * HOUR)
    merge(clicks, 7, 5, began + 27 * HOUR)
    for (const shard of clicks.shards) shard.end ||= 4_000 + ((shard.shard * 7919) % 9000)
  }

  const weight = (stream, shard) => {
    if (isEmpty || shard.closed_ms !== null) return 0
    const part = Number(((shard.last - shard.begin + 1n) * 1000n) / SPACE) / 1000
    return part * stream.weights.get(shard.shard) * (0.9 + 0.2 * Math.sin(Date.now() / 4000 + shard.shard))
  }
  const perSecond = (stream) => (stream === clicks ? rate * 1000 * 1.31 : rate * 2)
  function shown(stream) {
    const now = Date.now()
    return stream.shards.map((shard) => {
      const records = weight(stream, shard) * perSecond(stream)
      if (shard.closed_ms === null) shard.end += Math.floor((records * (now - shard.fed)) / 1000)
      shard.fed = now
      const { begin, last, fed, ...rest } = shard
      const flow = (times, bytes) => ({ records_per_second: records * times, bytes_per_second: records * times * bytes })
      return { ...rest, range: { start: String(begin), end: String(last) }, status: shard.closed_ms === null ? 'open' : 'closed', why: null, in: flow(1, 412), out: flow(2, 412) }
    })
  }
  const sum = (shards, way, what) => shards.reduce((total, shard) => total + shard[way][what], 0)
  function state(stream, isBehind) {
    const shards = shown(stream)
    const lag = (shard) => (shard.closed_ms !== null || isEmpty ? 0 : isBehind ? 5_200 + shard.shard * 31 : Math.floor(Date.now() / 700 + shard.shard) % 3)
    const reader = (kind, name, slow) => {
      const places = shards.map((shard) => ({ shard: shard.shard, lag_records: lag(shard) * slow, lag_ms: lag(shard) === 0 ? 0 : isBehind ? 4200 : 8 * slow }))
      const records = places.reduce((total, place) => total + place.lag_records, 0)
      return { kind, name, lag_records: records, lag_ms: Math.max(...places.map((place) => place.lag_ms)), state: kind === 'table' ? 'reading' : 'subscribed', shards: places }
    }
    const reading = stream === clicks ? [reader('table', 'clicks', 1), reader('table', 'visits', 2), reader('registered', 'fraud-check', 1)] : []
    const rates = (way) => ({ records_per_second: sum(shards, way, 'records_per_second'), bytes_per_second: sum(shards, way, 'bytes_per_second') })
    const records = shards.reduce((total, shard) => total + shard.end - shard.start, 0)
    return {
      at_ms: Date.now(), name: stream.name, mode: stream.mode, open_shards: open(stream).length, closed_shards: shards.length - open(stream).length, created_ms: stream.created_ms,
      retention_ms: stream.retention_ms, retention_bytes: null, encrypted: stream === orders, records, bytes: records * 413, in: rates('in'), out: rates('out'), consumers: reading.length,
      lag_records: reading.length === 0 ? null : Math.max(...reading.map((r) => r.lag_records)), lag_ms: reading.length === 0 ? null : Math.max(...reading.map((r) => r.lag_ms)), trouble: null,
      shards, reading, limits: { records_in: 1000, bytes_in: 1 << 20, bytes_out: 2 << 20 },
    }
  }

  const error = (message, remedy, kind = 'invalid') => ({ error: { kind, message, remedy } })
  /** Changes a stream: `[status, body]`. */
  function change(name, what, body) {
    const stream = all.get(name)
    if (!stream) return [404, error(`there is no stream "${name}"`, `Streams here: ${[...all.keys()].join(', ')}`, 'not found')]
    let problem = null
    if (what === 'split') problem = split(stream, body.shard, body.at === undefined ? undefined : BigInt(body.at))
    else if (what === 'merge') problem = merge(stream, body.shard, body.with)
    else if (what === 'reshape') reshape(stream, body.shards)
    else if (what === 'retention') stream.retention_ms = body.retention_ms
    else if (what === 'mode') stream.mode = body.mode
    else return [404, error('there is no such change', '', 'not found')]
    return problem === null ? [200, state(stream, false)] : [400, error(problem, 'Look at the shards as they are now')]
  }

  function plan(query) {
    const number = (name) => Number(query.get(name) ?? 0)
    const bytes = number('record_bytes') * number('records_per_second')
    const demands = [
      ['records_in', 'records in per second', number('records_per_second'), 1000],
      ['bytes_in', 'bytes in per second', bytes, 1 << 20],
      ['bytes_out', 'bytes out per second, shared by polling consumers', bytes * number('consumers'), 2 << 20],
      ['fan_out_bytes_out', 'bytes out per second, each consumer with fan-out', number('fan_out_consumers') > 0 ? bytes : 0, 2 << 20],
    ].map(([limit, words, needed, per_shard]) => ({ limit, words, needed, per_shard, shards: Math.ceil(needed / per_shard) }))
    const shards = Math.max(1, ...demands.map((demand) => demand.shards))
    const decides = demands.reduce((a, b) => (b.needed / b.per_shard > a.needed / a.per_shard ? b : a)).limit
    return { shards, fits: shards <= 1000, shards_max: 1000, decides, demands, formula: 'shards = the largest of … (the server says it)' }
  }
  return { all, state, change, plan }
}
