"""How the Python clients reach the door: the address, the region and the keys come from the environment, as every SDK takes them
(AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY). Nothing is told twice: retries are off, so that what a
retry would hide is seen."""

import hashlib
import json
import sys
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

HASHES = 1 << 128
WAIT_S = 30


def client(service: str = "kinesis", **more):
    return boto3.client(service, config=Config(retries={"total_max_attempts": 1}), **more)


def expect(found, wanted, what: str):
    """Ends the program with one clear line when `found` is not what is wanted."""
    if found != wanted:
        sys.exit(f"{what}: expected {wanted!r}, found {found!r}")
    return found


def must(true, what: str):
    if not true:
        sys.exit(what)


def refused(code: str, call, **arguments) -> ClientError:
    """The error that `call` must be refused with."""
    try:
        answer = call(**arguments)
    except ClientError as error:
        expect(error.response["Error"]["Code"], code, f"the code of {error}")
        must(error.response["Error"].get("Message"), f"{code} came without a message")
        expect(error.response["ResponseMetadata"]["HTTPStatusCode"], 400, f"the status of {code}")
        must(error.response["ResponseMetadata"].get("RequestId"), f"{code} came without a request id")
        return error
    sys.exit(f"{arguments}: expected {code}, found an answer: {answer}")


def until(found, what: str):
    """Asks again until `found` gives something true."""
    deadline = time.monotonic() + WAIT_S
    while not (it := found()):
        if time.monotonic() > deadline:
            sys.exit(f"still waiting after {WAIT_S} s: {what}")
        time.sleep(0.02)
    return it


def active(kinesis, name: str) -> dict:
    """The summary of a stream, once it is ACTIVE."""

    def found():
        summary = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
        return summary if summary["StreamStatus"] == "ACTIVE" else None

    return until(found, f"{name} to be ACTIVE")


def gone(kinesis, name: str) -> None:
    """Waits until a deleted stream is no longer known."""

    def found():
        try:
            status = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamStatus"]
            return expect(status, "DELETING", f"the status of {name} after its deletion") and None
        except kinesis.exceptions.ResourceNotFoundException:
            return True

    until(found, f"{name} to be gone")


def hash_of(key: str) -> int:
    """Where a partition key lies, by the published rule."""
    return int.from_bytes(hashlib.md5(key.encode()).digest(), "big")


def shard_of(shards: list, key_hash: int) -> str:
    """The open shard that a hash belongs to."""
    found = [shard["ShardId"] for shard in opened(shards) if start(shard) <= key_hash <= end(shard)]
    expect(len(found), 1, f"open shards that hold the hash {key_hash}")
    return found[0]


def opened(shards: list) -> list:
    return [shard for shard in shards if "EndingSequenceNumber" not in shard["SequenceNumberRange"]]


def start(shard: dict) -> int:
    return int(shard["HashKeyRange"]["StartingHashKey"])


def end(shard: dict) -> int:
    return int(shard["HashKeyRange"]["EndingHashKey"])


def whole(shards: list) -> None:
    """The open shards cover every hash exactly once."""
    next_hash = 0
    for shard in sorted(opened(shards), key=start):
        expect(start(shard), next_hash, f"the first hash of {shard['ShardId']}")
        next_hash = end(shard) + 1
    expect(next_hash, HASHES, "the hash after the last open shard")


def iterator(kinesis, stream: str, shard: str, kind: str, **more) -> str:
    return kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType=kind, **more)["ShardIterator"]


def read(kinesis, stream: str, shard: str, kind: str = "TRIM_HORIZON", **more) -> list:
    """Everything from there to the tip, or to the end of a closed shard."""
    place = iterator(kinesis, stream, shard, kind, **more)
    records = []
    while place:
        answer = kinesis.get_records(ShardIterator=place)
        records += answer["Records"]
        place = answer.get("NextShardIterator")
        if not answer["Records"] and answer["MillisBehindLatest"] == 0:
            break
    return records


def tell(**said) -> None:
    print(json.dumps(said))
