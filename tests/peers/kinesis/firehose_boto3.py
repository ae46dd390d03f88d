"""firehose_boto3.py TABLE FIRST: boto3's Firehose client puts ten records, numbered from FIRST, one alone and nine together."""

import json
import re
import sys

from door import client, expect, must, refused, tell

name, first = sys.argv[1], int(sys.argv[2])
firehose = client("firehose")


def record(number: int) -> dict:
    return {"Data": json.dumps({"n": number, "sender": "boto3"}).encode() + b"\n"}


listed = firehose.list_delivery_streams()
must(name in listed["DeliveryStreamNames"], f"not listed: {listed}")
stream = firehose.describe_delivery_stream(DeliveryStreamName=name)["DeliveryStreamDescription"]
expect((stream["DeliveryStreamName"], stream["DeliveryStreamStatus"]), (name, "ACTIVE"), "the delivery stream")
must(re.fullmatch(rf"arn:aws:firehose:us-east-1:\d{{12}}:deliverystream/{re.escape(name)}", stream["DeliveryStreamARN"]), f"no ARN: {stream}")
must(firehose.put_record(DeliveryStreamName=name, Record=record(first))["RecordId"], "PutRecord gave no RecordId")
batch = firehose.put_record_batch(DeliveryStreamName=name, Records=[record(first + 1 + number) for number in range(9)])
expect(batch["FailedPutCount"], 0, "FailedPutCount")
expect(len(batch["RequestResponses"]), 9, "answers")
must(all(said["RecordId"] for said in batch["RequestResponses"]), f"a record without an id: {batch}")
refused("ResourceNotFoundException", firehose.put_record, DeliveryStreamName="none", Record=record(0))
refused("ResourceNotFoundException", firehose.describe_delivery_stream, DeliveryStreamName="none")
# One byte more than a record may have, which is 1,000 KiB.
refused("ValidationException", firehose.put_record, DeliveryStreamName=name, Record={"Data": bytes(1_024_001)})
tell(put=10)
