"""boto3 walks through the life of a stream and checks every answer on the way."""

import re
import time
from datetime import datetime, timedelta, timezone

from door import (HASHES, active, client, end, expect, gone, hash_of, iterator, must, opened, read, refused, shard_of, start, tell,
                  until, whole)

NAME = "story-boto3"
OTHER = "story-boto3.other"
kinesis = client()


def create() -> None:
    answer = kinesis.create_stream(StreamName=NAME, ShardCount=2, Tags={"team": "shop"})
    expect(set(answer), {"ResponseMetadata"}, "what CreateStream answers")
    must(answer["ResponseMetadata"]["RequestId"], "CreateStream came without a request id")
    active(kinesis, NAME)
    refused("ResourceInUseException", kinesis.create_stream, StreamName=NAME, ShardCount=1)
    kinesis.create_stream(StreamName=OTHER, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    expect(active(kinesis, OTHER)["StreamModeDetails"]["StreamMode"], "ON_DEMAND", "the mode of the other stream")
    refused("ResourceNotFoundException", kinesis.describe_stream, StreamName="story-boto3-none")


def listed() -> None:
    names, more = [], {}
    while True:
        page = kinesis.list_streams(Limit=1, **more)
        names += page["StreamNames"]
        expect(len(page["StreamNames"]), 1, "names on a page of one")
        if not page["HasMoreStreams"]:
            break
        more = {"ExclusiveStartStreamName": page["StreamNames"][-1]}
    must({NAME, OTHER} <= set(names), f"ListStreams does not name both streams: {names}")
    expect(names, sorted(names), "the order of ListStreams")
    every = [name for page in kinesis.get_paginator("list_streams").paginate() for name in page["StreamNames"]]
    expect(every, names, "ListStreams by the paginator")
    summaries = {stream["StreamName"]: stream for stream in kinesis.list_streams()["StreamSummaries"]}
    expect(summaries[NAME]["StreamStatus"], "ACTIVE", "the status in StreamSummaries")


def described() -> list:
    stream = kinesis.describe_stream(StreamName=NAME)["StreamDescription"]
    must(re.fullmatch(rf"arn:aws:kinesis:us-east-1:\d{{12}}:stream/{NAME}", stream["StreamARN"]), f"no ARN: {stream['StreamARN']}")
    expect(stream["StreamStatus"], "ACTIVE", "StreamStatus")
    expect(stream["StreamModeDetails"]["StreamMode"], "PROVISIONED", "StreamMode")
    expect(stream["RetentionPeriodHours"], 24, "RetentionPeriodHours")
    expect(stream["EncryptionType"], "NONE", "EncryptionType")
    expect(stream["HasMoreShards"], False, "HasMoreShards")
    expect(stream["EnhancedMonitoring"], [{"ShardLevelMetrics": []}], "EnhancedMonitoring")
    age = datetime.now(timezone.utc) - stream["StreamCreationTimestamp"]
    must(timedelta(seconds=-5) < age < timedelta(minutes=5), f"created at {stream['StreamCreationTimestamp']}")
    shards = stream["Shards"]
    expect([shard["ShardId"] for shard in shards], ["shardId-000000000000", "shardId-000000000001"], "the shards")
    whole(shards)
    expect(start(shards[1]), HASHES // 2, "the first hash of the second shard")
    for shard in shards:
        must(re.fullmatch(r"0|[1-9]\d{0,128}", shard["SequenceNumberRange"]["StartingSequenceNumber"]), f"no sequence number: {shard}")
        must("ParentShardId" not in shard, f"a first shard with a parent: {shard}")
    summary = active(kinesis, NAME)
    expect((summary["OpenShardCount"], summary["ConsumerCount"]), (2, 0), "open shards and consumers")
    by_arn = kinesis.describe_stream_summary(StreamARN=stream["StreamARN"])["StreamDescriptionSummary"]
    expect(by_arn["StreamName"], NAME, "the stream found by its ARN")
    expect(kinesis.list_shards(StreamName=NAME)["Shards"], shards, "ListShards beside DescribeStream")
    first = kinesis.list_shards(StreamName=NAME, MaxResults=1)
    second = kinesis.list_shards(NextToken=first["NextToken"], MaxResults=1)
    expect(first["Shards"] + second["Shards"], shards, "ListShards by pages")
    part = kinesis.describe_stream(StreamName=NAME, Limit=1)["StreamDescription"]
    expect((part["HasMoreShards"], len(part["Shards"])), (True, 1), "DescribeStream with Limit=1")
    limits = kinesis.describe_limits()
    must(limits["OpenShardCount"] >= 2 and limits["ShardLimit"] > 2 and limits["OnDemandStreamCount"] >= 1, f"DescribeLimits: {limits}")
    return shards


def put(shards: list) -> dict:
    """Gives what was put, by shard, in order: (sequence number, partition key, data)."""
    wanted = {shard["ShardId"]: [] for shard in shards}

    def one(answer: dict, shard: str, key: str, data: bytes) -> None:
        expect(answer["ShardId"], shard, f"the shard of the key {key}")
        number = answer["SequenceNumber"]
        must(re.fullmatch(r"0|[1-9]\d{0,128}", number), f"no sequence number: {number}")
        must(not wanted[shard] or int(number) > int(wanted[shard][-1][0]), f"{number} is not above {wanted[shard][-1:]}")
        wanted[shard].append((number, key, data))

    for number in range(6):
        key, data = f"visitor-{number}", f"one {number} é\x00".encode()
        one(kinesis.put_record(StreamName=NAME, PartitionKey=key, Data=data), shard_of(shards, hash_of(key)), key, data)
    last = wanted[shards[1]["ShardId"]]
    answer = kinesis.put_record(StreamName=NAME, PartitionKey="by hand", ExplicitHashKey=str(HASHES - 1), Data=b"", SequenceNumberForOrdering=last[-1][0])
    one(answer, shards[1]["ShardId"], "by hand", b"")

    records = [{"PartitionKey": f"visitor-{number}", "Data": b"batch %d" % number} for number in range(20)]
    records += [{"PartitionKey": "by hand", "ExplicitHashKey": "0", "Data": bytes(range(256)) * 64}]
    answer = kinesis.put_records(StreamName=NAME, Records=records)
    expect(answer.get("FailedRecordCount", 0), 0, "FailedRecordCount")
    expect(len(answer["Records"]), len(records), "answers of PutRecords")
    for record, said in zip(records, answer["Records"]):
        key_hash = int(record.get("ExplicitHashKey", hash_of(record["PartitionKey"])))
        one(said, shard_of(shards, key_hash), record["PartitionKey"], record["Data"])

    refused("ResourceNotFoundException", kinesis.put_record, StreamName="story-boto3-none", PartitionKey="k", Data=b"")
    refused("InvalidArgumentException", kinesis.put_record, StreamName=NAME, PartitionKey="k", Data=b"", ExplicitHashKey=str(HASHES))
    refused("ValidationException", kinesis.put_record, StreamName=NAME, PartitionKey="k" * 257, Data=b"")
    return wanted


def found(records: list) -> list:
    return [(record["SequenceNumber"], record["PartitionKey"], record["Data"]) for record in records]


def iterated(wanted: dict, before: datetime) -> None:
    for shard, records in wanted.items():
        everything = read(kinesis, NAME, shard)
        expect(found(everything), records, f"{shard} from TRIM_HORIZON")
        for record in everything:
            age = datetime.now(timezone.utc) - record["ApproximateArrivalTimestamp"]
            must(timedelta(seconds=-5) < age < timedelta(minutes=5), f"arrived at {record['ApproximateArrivalTimestamp']}")
        third = records[2][0]
        expect(found(read(kinesis, NAME, shard, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=third)), records[2:], f"{shard} AT_SEQUENCE_NUMBER")
        expect(found(read(kinesis, NAME, shard, "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=third)), records[3:], f"{shard} AFTER_SEQUENCE_NUMBER")
        expect(found(read(kinesis, NAME, shard, "AT_TIMESTAMP", Timestamp=before)), records, f"{shard} AT_TIMESTAMP before all")
        expect(found(read(kinesis, NAME, shard, "LATEST")), [], f"{shard} from LATEST")
        limited = kinesis.get_records(ShardIterator=iterator(kinesis, NAME, shard, "TRIM_HORIZON"), Limit=2)
        expect(found(limited["Records"]), records[:2], f"{shard} with Limit=2")
        rest = kinesis.get_records(ShardIterator=limited["NextShardIterator"])
        expect(found(rest["Records"]), records[2:], f"{shard} after Limit=2")
        again = kinesis.get_records(ShardIterator=limited["NextShardIterator"])
        expect(found(again["Records"]), records[2:], f"{shard} by the same iterator again")
    shard = next(iter(wanted))
    latest = iterator(kinesis, NAME, shard, "LATEST")
    put_after = kinesis.put_record(StreamName=NAME, PartitionKey="late", ExplicitHashKey="0", Data=b"late")
    expect(found(kinesis.get_records(ShardIterator=latest)["Records"]), [(put_after["SequenceNumber"], "late", b"late")], "after LATEST")
    wanted[shard].append((put_after["SequenceNumber"], "late", b"late"))
    refused("InvalidArgumentException", kinesis.get_records, ShardIterator="AAAAnothing")
    refused("ResourceNotFoundException", kinesis.get_shard_iterator, StreamName=NAME, ShardId="shardId-000000000099", ShardIteratorType="LATEST")
    refused("InvalidArgumentException", kinesis.get_shard_iterator, StreamName=NAME, ShardId=shard, ShardIteratorType="AT_SEQUENCE_NUMBER")


def subscribed(wanted: dict) -> str:
    arn = active(kinesis, NAME)["StreamARN"]
    consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="reader")["Consumer"]
    must(re.fullmatch(re.escape(arn) + r"/consumer/reader:\d+", consumer["ConsumerARN"]), f"no ARN: {consumer['ConsumerARN']}")
    refused("ResourceInUseException", kinesis.register_stream_consumer, StreamARN=arn, ConsumerName="reader")

    def status():
        said = kinesis.describe_stream_consumer(ConsumerARN=consumer["ConsumerARN"])["ConsumerDescription"]
        expect(said["StreamARN"], arn, "the stream of the consumer")
        return said["ConsumerStatus"] == "ACTIVE"

    until(status, "the consumer to be ACTIVE")
    by_name = kinesis.describe_stream_consumer(StreamARN=arn, ConsumerName="reader")["ConsumerDescription"]
    expect(by_name["ConsumerARN"], consumer["ConsumerARN"], "the consumer by its name")
    consumers = kinesis.list_stream_consumers(StreamARN=arn)["Consumers"]
    expect([it["ConsumerName"] for it in consumers], ["reader"], "ListStreamConsumers")
    expect(active(kinesis, NAME)["ConsumerCount"], 1, "ConsumerCount")

    shard, records = next(iter(wanted.items()))
    stream = kinesis.subscribe_to_shard(ConsumerARN=consumer["ConsumerARN"], ShardId=shard, StartingPosition={"Type": "TRIM_HORIZON"})
    events = iter(stream["EventStream"])
    got = []
    while len(got) < len(records):
        event = next(events)["SubscribeToShardEvent"]
        got += event["Records"]
        place = event["ContinuationSequenceNumber"]
        must(event["MillisBehindLatest"] >= 0, f"MillisBehindLatest: {event}")
    expect(found(got), records, f"{shard} by subscription")
    refused("ResourceInUseException", kinesis.subscribe_to_shard, ConsumerARN=consumer["ConsumerARN"], ShardId=shard, StartingPosition={"Type": "LATEST"})
    said = kinesis.put_record(StreamName=NAME, PartitionKey="pushed", ExplicitHashKey="0", Data=b"pushed")
    got = []
    while not got:
        event = next(events)["SubscribeToShardEvent"]
        got, before, place = event["Records"], place, event["ContinuationSequenceNumber"]
    expect(found(got), [(said["SequenceNumber"], "pushed", b"pushed")], "what was pushed")
    must(int(place) >= int(said["SequenceNumber"]) > int(before), f"ContinuationSequenceNumber {before} → {place} around {said}")
    stream["EventStream"].close()
    records.append((said["SequenceNumber"], "pushed", b"pushed"))
    refused("ResourceNotFoundException", kinesis.subscribe_to_shard, ConsumerARN=consumer["ConsumerARN"] + "1", ShardId=shard, StartingPosition={"Type": "LATEST"})
    return consumer["ConsumerARN"]


def resharded(wanted: dict) -> None:
    first, second = list(wanted)
    shards = kinesis.list_shards(StreamName=NAME)["Shards"]
    refused("InvalidArgumentException", kinesis.split_shard, StreamName=NAME, ShardToSplit=first, NewStartingHashKey="0")
    kinesis.split_shard(StreamName=NAME, ShardToSplit=first, NewStartingHashKey=str(HASHES // 4))
    expect(active(kinesis, NAME)["OpenShardCount"], 3, "open shards after the split")
    shards = kinesis.list_shards(StreamName=NAME)["Shards"]
    whole(shards)
    children = [shard for shard in shards if shard.get("ParentShardId") == first]
    expect([shard["ShardId"] for shard in children], ["shardId-000000000002", "shardId-000000000003"], "the children")
    expect([start(shard) for shard in children], [0, HASHES // 4], "where the children begin")
    for child in children:
        must("AdjacentParentShardId" not in child, f"a split's child with two parents: {child}")
    closed = next(shard for shard in shards if shard["ShardId"] == first)["SequenceNumberRange"]
    last = int(wanted[first][-1][0])
    must(int(closed["StartingSequenceNumber"]) <= last <= int(closed["EndingSequenceNumber"]), f"{last} outside {closed}")
    expect({shard["ShardId"] for shard in kinesis.list_shards(StreamName=NAME, ShardFilter={"Type": "AT_LATEST"})["Shards"]},
           {second, *(shard["ShardId"] for shard in children)}, "ListShards AT_LATEST")
    after = kinesis.list_shards(StreamName=NAME, ExclusiveStartShardId=second)["Shards"]
    expect([shard["ShardId"] for shard in after], [shard["ShardId"] for shard in children], "ListShards after the second")

    place, records, said = iterator(kinesis, NAME, first, "TRIM_HORIZON"), [], []
    while place:
        answer = kinesis.get_records(ShardIterator=place, Limit=5)
        records += answer["Records"]
        place, said = answer.get("NextShardIterator"), answer.get("ChildShards", [])
    expect(found(records), wanted[first], "the closed shard, to its end")
    expect([(shard["ShardId"], shard["ParentShards"]) for shard in said], [(shard["ShardId"], [first]) for shard in children], "ChildShards")
    for shard, child in zip(said, children):
        expect(shard["HashKeyRange"], child["HashKeyRange"], f"the range of {child['ShardId']}")
    low = kinesis.put_record(StreamName=NAME, PartitionKey="low", ExplicitHashKey=str(HASHES // 4 - 1), Data=b"low")
    expect(low["ShardId"], children[0]["ShardId"], "the shard below the split")
    high = kinesis.put_record(StreamName=NAME, PartitionKey="high", ExplicitHashKey=str(HASHES // 4), Data=b"high")
    expect(high["ShardId"], children[1]["ShardId"], "the shard above the split")
    must(int(low["SequenceNumber"]) > last < int(high["SequenceNumber"]), "a child's sequence number is not above its parent's")

    refused("InvalidArgumentException", kinesis.merge_shards, StreamName=NAME, ShardToMerge=children[0]["ShardId"], AdjacentShardToMerge=second)
    kinesis.merge_shards(StreamName=NAME, ShardToMerge=children[0]["ShardId"], AdjacentShardToMerge=children[1]["ShardId"])
    expect(active(kinesis, NAME)["OpenShardCount"], 2, "open shards after the merge")
    shards = kinesis.list_shards(StreamName=NAME)["Shards"]
    whole(shards)
    merged = shards[-1]
    expect({merged["ParentShardId"], merged["AdjacentParentShardId"]}, {shard["ShardId"] for shard in children}, "the parents of the merged shard")
    expect((start(merged), end(merged)), (0, HASHES // 2 - 1), "the range of the merged shard")
    expect(found(read(kinesis, NAME, children[0]["ShardId"])), [(low["SequenceNumber"], "low", b"low")], "the lower child")

    answer = kinesis.update_shard_count(StreamName=NAME, TargetShardCount=4, ScalingType="UNIFORM_SCALING")
    expect((answer["StreamName"], answer["CurrentShardCount"], answer["TargetShardCount"]), (NAME, 2, 4), "UpdateShardCount")
    expect(active(kinesis, NAME)["OpenShardCount"], 4, "open shards after UpdateShardCount")
    shards = opened(kinesis.list_shards(StreamName=NAME)["Shards"])
    whole(shards)
    expect(sorted(start(shard) for shard in shards), [quarter * HASHES // 4 for quarter in range(4)], "equal quarters")
    refused("InvalidArgumentException", kinesis.update_shard_count, StreamName=NAME, TargetShardCount=9, ScalingType="UNIFORM_SCALING")


def labelled() -> None:
    arn = active(kinesis, NAME)["StreamARN"]
    kinesis.add_tags_to_stream(StreamName=NAME, Tags={"a": "1", "b": "2"})
    tags = kinesis.list_tags_for_stream(StreamName=NAME)
    expect({tag["Key"]: tag["Value"] for tag in tags["Tags"]}, {"team": "shop", "a": "1", "b": "2"}, "tags of the stream")
    expect(tags["HasMoreTags"], False, "HasMoreTags")
    kinesis.remove_tags_from_stream(StreamName=NAME, TagKeys=["a"])
    kinesis.tag_resource(ResourceARN=arn, Tags={"c": "3"})
    kinesis.untag_resource(ResourceARN=arn, TagKeys=["b"])
    expect({tag["Key"]: tag["Value"] for tag in kinesis.list_tags_for_resource(ResourceARN=arn)["Tags"]}, {"team": "shop", "c": "3"}, "tags of the resource")

    kinesis.increase_stream_retention_period(StreamName=NAME, RetentionPeriodHours=48)
    expect(active(kinesis, NAME)["RetentionPeriodHours"], 48, "RetentionPeriodHours")
    refused("InvalidArgumentException", kinesis.increase_stream_retention_period, StreamName=NAME, RetentionPeriodHours=36)
    kinesis.decrease_stream_retention_period(StreamName=NAME, RetentionPeriodHours=24)
    expect(active(kinesis, NAME)["RetentionPeriodHours"], 24, "RetentionPeriodHours")

    said = kinesis.enable_enhanced_monitoring(StreamName=NAME, ShardLevelMetrics=["IncomingBytes"])
    expect(said["DesiredShardLevelMetrics"], ["IncomingBytes"], "DesiredShardLevelMetrics")
    kinesis.disable_enhanced_monitoring(StreamName=NAME, ShardLevelMetrics=["ALL"])
    kinesis.update_stream_mode(StreamARN=arn, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    expect(active(kinesis, NAME)["StreamModeDetails"]["StreamMode"], "ON_DEMAND", "the mode")
    kinesis.update_stream_mode(StreamARN=arn, StreamModeDetails={"StreamMode": "PROVISIONED"})
    expect(active(kinesis, NAME)["StreamModeDetails"]["StreamMode"], "PROVISIONED", "the mode")


def deleted(consumer: str) -> None:
    refused("ResourceInUseException", kinesis.delete_stream, StreamName=NAME)
    kinesis.deregister_stream_consumer(ConsumerARN=consumer)

    def forgotten():
        try:
            kinesis.describe_stream_consumer(ConsumerARN=consumer)
        except kinesis.exceptions.ResourceNotFoundException:
            return True

    until(forgotten, "the consumer to be gone")
    answer = kinesis.delete_stream(StreamName=NAME)
    expect(set(answer), {"ResponseMetadata"}, "what DeleteStream answers")
    gone(kinesis, NAME)
    kinesis.delete_stream(StreamName=OTHER, EnforceConsumerDeletion=True)
    gone(kinesis, OTHER)
    refused("ResourceNotFoundException", kinesis.delete_stream, StreamName=NAME)


# Whole seconds: a timestamp crosses JSON in milliseconds.
begun = datetime.fromtimestamp(int(time.time()) - 1, timezone.utc)
create()
listed()
shards = described()
wanted = put(shards)
iterated(wanted, begun)
consumer = subscribed(wanted)
resharded(wanted)
labelled()
deleted(consumer)
tell(done=NAME)
