// numbered.mjs STREAM KEYS ROUNDS: reads a whole stream with GetRecords, parents before children, and checks that every key counts from
// 0 to ROUNDS - 1 in order, each number once.
import * as sdk from '@aws-sdk/client-kinesis'
import { expect, must, run, settings } from './door.mjs'

const [StreamName, keys, rounds] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])]
const kinesis = new sdk.KinesisClient(settings)
const next = new Uint32Array(keys)
const text = new TextDecoder()

function take(records, shard) {
  for (const record of records) {
    const { key, number } = JSON.parse(text.decode(record.Data))
    if (number !== next[key]) throw new Error(`${shard}: key ${key}: expected number ${next[key]}, found ${number}`)
    next[key]++
  }
  return records.length
}

async function read(ShardId) {
  let count = 0
  const from = { StreamName, ShardId, ShardIteratorType: 'TRIM_HORIZON' }
  let { ShardIterator } = await kinesis.send(new sdk.GetShardIteratorCommand(from))
  while (ShardIterator) {
    const answer = await kinesis.send(new sdk.GetRecordsCommand({ ShardIterator }))
    count += take(answer.Records, ShardId)
    ShardIterator = answer.NextShardIterator
    if (!answer.Records.length && answer.MillisBehindLatest === 0) break
  }
  return count
}

await run(async () => {
  const begun = Date.now()
  const shards = []
  for (let asked = { StreamName }; asked; ) {
    const page = await kinesis.send(new sdk.ListShardsCommand(asked))
    shards.push(...page.Shards)
    asked = page.NextToken && { NextToken: page.NextToken }
  }
  const ends = new Map()
  const parents = (shard) => [shard.ParentShardId, shard.AdjacentParentShardId].filter((id) => ends.has(id)).map((id) => ends.get(id))
  // A shard's number is above its parents', so that these are in the map before it.
  for (const shard of shards.sort((a, b) => (a.ShardId < b.ShardId ? -1 : 1))) {
    ends.set(shard.ShardId, Promise.all(parents(shard)).then(() => read(shard.ShardId)))
  }
  const counts = await Promise.all(ends.values())
  const count = counts.reduce((sum, one) => sum + one, 0)
  expect(count, keys * rounds, 'records read')
  must(next.every((number) => number === rounds), 'a key without all its numbers')
  return { read: count, by_shard: counts, seconds: (Date.now() - begun) / 1000 }
})
