// firehose.mjs TABLE FIRST: the JavaScript SDK's Firehose client puts ten records, numbered from FIRST, one alone and nine together.
import * as sdk from '@aws-sdk/client-firehose'
import { expect, must, refused, run, settings } from './door.mjs'

const [DeliveryStreamName, first] = [process.argv[2], Number(process.argv[3])]
const firehose = new sdk.FirehoseClient(settings)
const record = (number) => ({ Data: Buffer.from(JSON.stringify({ n: number, sender: 'js' }) + '\n') })

await run(async () => {
  const { DeliveryStreamNames, HasMoreDeliveryStreams } = await firehose.send(new sdk.ListDeliveryStreamsCommand({}))
  must(DeliveryStreamNames.includes(DeliveryStreamName), `not listed: ${DeliveryStreamNames}`)
  expect(HasMoreDeliveryStreams, false, 'HasMoreDeliveryStreams')
  const { DeliveryStreamDescription: it } = await firehose.send(new sdk.DescribeDeliveryStreamCommand({ DeliveryStreamName }))
  expect([it.DeliveryStreamName, it.DeliveryStreamStatus], [DeliveryStreamName, 'ACTIVE'], 'the delivery stream')
  const one = await firehose.send(new sdk.PutRecordCommand({ DeliveryStreamName, Record: record(first) }))
  must(one.RecordId, 'PutRecord gave no RecordId')
  const Records = Array.from({ length: 9 }, (_, number) => record(first + 1 + number))
  const batch = await firehose.send(new sdk.PutRecordBatchCommand({ DeliveryStreamName, Records }))
  expect(batch.FailedPutCount, 0, 'FailedPutCount')
  expect(batch.RequestResponses.length, 9, 'answers')
  must(batch.RequestResponses.every((said) => said.RecordId && !said.ErrorCode), 'a record without an id')
  await refused('ResourceNotFoundException', firehose, new sdk.PutRecordCommand({ DeliveryStreamName: 'none', Record: record(0) }))
  return { put: 10 }
})
