"""The door in CBOR, as the Java SDK speaks it: maps of the same shapes, blobs as byte strings, times as tag 1 with whole milliseconds.

Requests are encoded here and signed by botocore."""

import datetime
import os
import urllib.error
import urllib.request

import cbor2
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from door import active, client, expect, must, tell

URL = os.environ["AWS_ENDPOINT_URL"]
CBOR = "application/x-amz-cbor-1.1"
NAME = "cbor"
CREDENTIALS = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])




def call(operation: str, body, status: int = 200):
    data = body if isinstance(body, bytes) else cbor2.dumps(body)
    headers = {"content-type": CBOR, "accept": CBOR, "x-amz-target": f"Kinesis_20131202.{operation}"}
    asked = AWSRequest("POST", URL + "/", headers=headers, data=data)
    SigV4Auth(CREDENTIALS, "kinesis", "us-east-1").add_auth(asked)
    asked = asked.prepare()
    try:
        answer = urllib.request.urlopen(urllib.request.Request(asked.url, data, dict(asked.headers), method="POST"), timeout=30)
    except urllib.error.HTTPError as refusal:
        answer = refusal
    with answer:
        bytes_ = answer.read()
    expect(answer.status, status, f"{operation}: {bytes_!r}")
    must(not bytes_ or answer.headers["content-type"].startswith(CBOR), f"{operation} answered {answer.headers['content-type']}")
    return Times(bytes_).read() if bytes_ else None


class Times:
    """Reads one CBOR value; a time must be tag 1 around a whole number of milliseconds, and comes out as that number."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def read(self):
        value = self.value()
        expect(self.at, len(self.data), "bytes read of the answer")
        return value

    def value(self):
        first = self.data[self.at]
        kind, short = first >> 5, first & 31
        self.at += 1
        if kind == 7:
            width = {25: 2, 26: 4, 27: 8}.get(short, 0)
            self.at += width
            return {20: False, 21: True, 22: None}[short] if width == 0 else cbor2.loads(self.data[self.at - width - 1:self.at])
        if short == 31:
            return self.unbounded(kind)
        width = {24: 1, 25: 2, 26: 4, 27: 8}.get(short, 0)
        count = int.from_bytes(self.data[self.at:self.at + width], "big") if width else short
        self.at += width
        if kind in (2, 3):
            self.at += count
            part = self.data[self.at - count:self.at]
            return part if kind == 2 else part.decode()
        if kind == 6:
            expect(count, 1, "the tag of a time")
            must(isinstance(moment := self.value(), int), f"a time that is no whole number: {moment!r}")
            return moment
        return {0: lambda: count, 1: lambda: -1 - count, 4: lambda: [self.value() for _ in range(count)], 5: lambda: {self.value(): self.value() for _ in range(count)}}[kind]()

    def unbounded(self, kind: int):
        parts = []
        while self.data[self.at] != 0xFF:
            parts.append((self.value(), self.value()) if kind == 5 else self.value())
        self.at += 1
        return {2: b"".join, 3: "".join, 4: list, 5: dict}[kind](parts)


must(call("CreateStream", {"StreamName": NAME, "ShardCount": 1}) is None, "CreateStream answered with a body")
json_client = client()
active(json_client, NAME)
stream = call("DescribeStream", {"StreamName": NAME})["StreamDescription"]
created = stream["StreamCreationTimestamp"]
now = datetime.datetime.now(datetime.timezone.utc).timestamp() * 1000
must(isinstance(created, int) and now - 60_000 < created < now + 5_000, f"created at {created} of {now}")
shard = stream["Shards"][0]["ShardId"]
data = bytes(range(256))
one = call("PutRecord", {"StreamName": NAME, "PartitionKey": "ключ", "Data": data})
records = [{"PartitionKey": f"key {number}", "Data": b"%d" % number} for number in range(10)]
many = call("PutRecords", {"StreamName": NAME, "Records": records})
expect((many["FailedRecordCount"], len(many["Records"])), (0, 10), "PutRecords")
asked = {"StreamName": NAME, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"}
answer = call("GetRecords", {"ShardIterator": call("GetShardIterator", asked)["ShardIterator"]})
expect([(it["PartitionKey"], it["Data"]) for it in answer["Records"]], [("ключ", data)] + [(it["PartitionKey"], it["Data"]) for it in records], "the records")
expect(answer["Records"][0]["SequenceNumber"], one["SequenceNumber"], "the first sequence number")
must(all(isinstance(it["ApproximateArrivalTimestamp"], int) for it in answer["Records"]), "a record without a time of arrival")
from_time = asked | {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": cbor2.CBORTag(1, created - 1000)}
# An encoder of tags that does not know better would write the date; this one writes what it is given.
answer = call("GetRecords", {"ShardIterator": call("GetShardIterator", from_time)["ShardIterator"], "Limit": 3})
expect(len(answer["Records"]), 3, "records from a time")
future = asked | {"ShardIteratorType": "LATEST"}
expect(call("GetRecords", {"ShardIterator": call("GetShardIterator", future)["ShardIterator"]})["Records"], [], "records from LATEST")
# The same records through JSON: one stream, two languages.
place = json_client.get_shard_iterator(StreamName=NAME, ShardId=shard, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
expect(json_client.get_records(ShardIterator=place)["Records"][0]["Data"], data, "the first record through JSON")

refusal = call("DescribeStream", {"StreamName": "cbor-none"}, 400)
expect(refusal["__type"].rsplit("#", 1)[-1], "ResourceNotFoundException", "the refusal of an unknown stream")
must(refusal.get("message") or refusal.get("Message"), f"a refusal without a message: {refusal}")
refusal = call("DescribeStream", b"\xbf\x6aStreamName", 400)
must(refusal["__type"].rsplit("#", 1)[-1] in ("SerializationException", "ValidationException"), f"half a map: {refusal}")
call("DeleteStream", {"StreamName": NAME})
tell(done=NAME)
