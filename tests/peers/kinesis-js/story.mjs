// The JavaScript SDK v3 walks through the life of a stream, over HTTP/2 as it comes, and checks every answer on the way.
import * as sdk from '@aws-sdk/client-kinesis'
import { expect, must, refused, run, settings, until } from './door.mjs'

const StreamName = 'story-js'
const HALF = 1n << 127n
const kinesis = new sdk.KinesisClient(settings)
const text = new TextDecoder()

async function active() {
  return until(async () => {
    const { StreamDescriptionSummary: summary } = await kinesis.send(new sdk.DescribeStreamSummaryCommand({ StreamName }))
    return summary.StreamStatus === 'ACTIVE' && summary
  }, `${StreamName} to be ACTIVE`)
}

function ranges(shards) {
  const one = ({ HashKeyRange: it }) => [BigInt(it.StartingHashKey), BigInt(it.EndingHashKey)]
  return shards.map(one).sort((a, b) => (a[0] < b[0] ? -1 : 1))
}

const found = (records) => records.map((it) => [it.SequenceNumber, it.PartitionKey, text.decode(it.Data)])

async function create() {
  await kinesis.send(new sdk.CreateStreamCommand({ StreamName, ShardCount: 2 }))
  const summary = await active()
  expect([summary.OpenShardCount, summary.RetentionPeriodHours], [2, 24], 'shards and retention')
  must(Math.abs(Date.now() - summary.StreamCreationTimestamp.getTime()) < 300_000, `created ${summary.StreamCreationTimestamp}`)
  await refused('ResourceInUseException', kinesis, new sdk.CreateStreamCommand({ StreamName, ShardCount: 2 }))
  await refused('ResourceNotFoundException', kinesis, new sdk.DescribeStreamCommand({ StreamName: 'story-js-none' }))
  const names = []
  for await (const page of sdk.paginateListStreams({ client: kinesis }, {})) names.push(...page.StreamNames)
  must(names.includes(StreamName), `not listed: ${names}`)
  const { StreamDescription: stream } = await kinesis.send(new sdk.DescribeStreamCommand({ StreamName }))
  expect(stream.StreamModeDetails, { StreamMode: 'PROVISIONED' }, 'the mode')
  expect(ranges(stream.Shards), [[0n, HALF - 1n], [HALF, 2n * HALF - 1n]], 'the ranges')
  return stream.Shards.map((shard) => shard.ShardId)
}

async function put([first, second]) {
  const one = { StreamName, PartitionKey: 'Zoë', ExplicitHashKey: '0', Data: Buffer.from('one') }
  const said = await kinesis.send(new sdk.PutRecordCommand(one))
  expect(said.ShardId, first, 'the shard of hash 0')
  const wanted = [[said.SequenceNumber, 'Zoë', 'one']]
  const Records = Array.from({ length: 40 }, (_, number) => ({
    PartitionKey: `key ${number}`,
    ExplicitHashKey: String(number % 2 ? HALF : HALF - 1n),
    Data: Buffer.from(`batch ${number}`),
  }))
  const answer = await kinesis.send(new sdk.PutRecordsCommand({ StreamName, Records }))
  expect(answer.FailedRecordCount ?? 0, 0, 'FailedRecordCount')
  expect(answer.Records.map((it) => it.ShardId), Records.map((_, number) => (number % 2 ? second : first)), 'the shards')
  answer.Records.forEach((it, number) => {
    if (number % 2 === 0) wanted.push([it.SequenceNumber, `key ${number}`, `batch ${number}`])
  })
  return wanted
}

async function from(ShardId, ShardIteratorType, more = {}) {
  return (await kinesis.send(new sdk.GetShardIteratorCommand({ StreamName, ShardId, ShardIteratorType, ...more }))).ShardIterator
}

async function iterate(ShardId, wanted, begun) {
  const kinds = [
    ['TRIM_HORIZON', {}, 0],
    ['AT_SEQUENCE_NUMBER', { StartingSequenceNumber: wanted[3][0] }, 3],
    ['AFTER_SEQUENCE_NUMBER', { StartingSequenceNumber: wanted[3][0] }, 4],
    ['AT_TIMESTAMP', { Timestamp: begun }, 0],
    ['LATEST', {}, wanted.length],
  ]
  for (const [kind, more, skipped] of kinds) {
    const answer = await kinesis.send(new sdk.GetRecordsCommand({ ShardIterator: await from(ShardId, kind, more) }))
    expect(found(answer.Records), wanted.slice(skipped), kind)
    expect(answer.MillisBehindLatest, 0, `${kind}: MillisBehindLatest`)
    must(answer.NextShardIterator, `${kind}: an open shard gave no next iterator`)
  }
  await refused('InvalidArgumentException', kinesis, new sdk.GetRecordsCommand({ ShardIterator: 'nothing' }))
}

async function subscribe(ShardId, wanted) {
  const { StreamARN } = await active()
  const registered = await kinesis.send(new sdk.RegisterStreamConsumerCommand({ StreamARN, ConsumerName: 'reader' }))
  const { ConsumerARN } = registered.Consumer
  await until(async () => {
    const said = await kinesis.send(new sdk.DescribeStreamConsumerCommand({ ConsumerARN }))
    return said.ConsumerDescription.ConsumerStatus === 'ACTIVE'
  }, 'the consumer to be ACTIVE')
  const { Consumers } = await kinesis.send(new sdk.ListStreamConsumersCommand({ StreamARN }))
  expect(Consumers.map((it) => it.ConsumerName), ['reader'], 'the consumers')
  const asked = { ConsumerARN, ShardId, StartingPosition: { Type: 'TRIM_HORIZON' } }
  const { EventStream } = await kinesis.send(new sdk.SubscribeToShardCommand(asked))
  const read = []
  let late
  for await (const { SubscribeToShardEvent: event } of EventStream) {
    must(event.ContinuationSequenceNumber, 'no place to continue')
    read.push(...found(event.Records))
    if (read.length >= wanted.length && !late) {
      late = await kinesis.send(new sdk.PutRecordCommand({ StreamName, PartitionKey: 'late', ExplicitHashKey: '0', Data: Buffer.from('late') }))
      wanted = [...wanted, [late.SequenceNumber, 'late', 'late']]
    }
    if (read.length >= wanted.length) break
  }
  expect(read, wanted, 'what the subscription gave')
  return [ConsumerARN, wanted]
}

async function reshard([first], wanted) {
  await kinesis.send(new sdk.SplitShardCommand({ StreamName, ShardToSplit: first, NewStartingHashKey: String(HALF / 2n) }))
  await active()
  const open = { StreamName, ShardFilter: { Type: 'AT_LATEST' } }
  const split = (await kinesis.send(new sdk.ListShardsCommand(open))).Shards
  expect(ranges(split), [[0n, HALF / 2n - 1n], [HALF / 2n, HALF - 1n], [HALF, 2n * HALF - 1n]], 'ranges after the split')
  const children = split.filter((shard) => shard.ParentShardId === first).map((shard) => shard.ShardId)
  let read = [], place = await from(first, 'TRIM_HORIZON'), said
  while (place) {
    const answer = await kinesis.send(new sdk.GetRecordsCommand({ ShardIterator: place }))
    read.push(...found(answer.Records))
    place = answer.NextShardIterator
    said = answer.ChildShards
  }
  expect(read, wanted, 'the closed shard, to its end')
  expect(said.map((it) => it.ShardId), children, 'its children')
  const [ShardToMerge, AdjacentShardToMerge] = children
  await kinesis.send(new sdk.MergeShardsCommand({ StreamName, ShardToMerge, AdjacentShardToMerge }))
  await active()
  const merged = (await kinesis.send(new sdk.ListShardsCommand(open))).Shards
  expect(ranges(merged), [[0n, HALF - 1n], [HALF, 2n * HALF - 1n]], 'ranges after the merge')
  const count = { StreamName, TargetShardCount: 4, ScalingType: 'UNIFORM_SCALING' }
  const answer = await kinesis.send(new sdk.UpdateShardCountCommand(count))
  expect([answer.CurrentShardCount, answer.TargetShardCount], [2, 4], 'UpdateShardCount')
  expect((await active()).OpenShardCount, 4, 'open shards')
}

async function label() {
  await kinesis.send(new sdk.AddTagsToStreamCommand({ StreamName, Tags: { team: 'shop', tier: '1' } }))
  await kinesis.send(new sdk.RemoveTagsFromStreamCommand({ StreamName, TagKeys: ['tier'] }))
  const { Tags } = await kinesis.send(new sdk.ListTagsForStreamCommand({ StreamName }))
  expect(Tags, [{ Key: 'team', Value: 'shop' }], 'the tags')
  await kinesis.send(new sdk.IncreaseStreamRetentionPeriodCommand({ StreamName, RetentionPeriodHours: 48 }))
  expect((await active()).RetentionPeriodHours, 48, 'the retention')
  await kinesis.send(new sdk.DecreaseStreamRetentionPeriodCommand({ StreamName, RetentionPeriodHours: 24 }))
  expect((await active()).RetentionPeriodHours, 24, 'the retention')
  await refused('InvalidArgumentException', kinesis, new sdk.DecreaseStreamRetentionPeriodCommand({ StreamName, RetentionPeriodHours: 12 }))
}

async function remove(ConsumerARN) {
  await kinesis.send(new sdk.DeregisterStreamConsumerCommand({ ConsumerARN }))
  await kinesis.send(new sdk.DeleteStreamCommand({ StreamName, EnforceConsumerDeletion: true }))
  await until(async () => {
    try {
      await kinesis.send(new sdk.DescribeStreamSummaryCommand({ StreamName }))
    } catch (error) {
      return expect(error.name, 'ResourceNotFoundException', 'describing a deleted stream')
    }
  }, `${StreamName} to be gone`)
}

await run(async () => {
  const begun = new Date(Date.now() - 2_000)
  const shards = await create()
  const wanted = await put(shards)
  await iterate(shards[0], wanted, begun)
  const [consumer, all] = await subscribe(shards[0], wanted)
  await reshard(shards, all)
  await label()
  await remove(consumer)
  return { done: StreamName }
})
