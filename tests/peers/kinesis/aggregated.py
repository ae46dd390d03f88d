"""aggregated.py STREAM COUNT: puts COUNT events packed into aggregated records as producer libraries do, one that is broken, and one plain
event. Gives how many records the stream has, and the payload of the broken one."""

import json
import sys

import aws_kinesis_agg.aggregator

from door import client, expect, tell

stream, count = sys.argv[1], int(sys.argv[2])
kinesis = client()
packed = aws_kinesis_agg.aggregator.RecordAggregator(max_size=20_000)
sent = []


def put(record) -> None:
    key, hash_key, data = record.get_contents()
    more = {"ExplicitHashKey": hash_key} if hash_key else {}
    sent.append(kinesis.put_record(StreamName=stream, PartitionKey=key, Data=data, **more))


for number in range(count):
    full = packed.add_user_record(f"visitor-{number % 7}", json.dumps({"n": number, "sender": "aggregated"}).encode())
    if full:
        put(full)
last = packed.clear_and_get()
if last:
    put(last)
expect(len(sent) < count / 10, True, f"{count} events in few records, and not {len(sent)}")
kinesis.put_record(StreamName=stream, PartitionKey="plain", Data=json.dumps({"n": count, "sender": "plain"}).encode())
tell(records=len(sent) + 1)
