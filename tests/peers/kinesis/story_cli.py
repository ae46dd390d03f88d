"""The AWS CLI walks through the life of a stream: every command is typed as a person types it, its output is read as JSON.

The first command runs the program `aws`; the others go to the same entry point inside this process, because starting it forty times
would take a minute. PyPI has version 1 of the CLI; it has no subscribe-to-shard (its table of commands leaves event streams out), so the
consumer is registered, described and deregistered, and read by boto3 and the SDKs. It takes data as text and gives it in base64."""

import base64
import contextlib
import io
import json
import os
import subprocess
import sys

from awscli.clidriver import create_clidriver

from door import HASHES, expect, must, tell, until

NAME = "story-cli"
driver = create_clidriver()


def aws(line: str, *more: str):
    """What the command prints, as JSON; None when it prints nothing."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        status = driver.main(["kinesis", *line.split(), *more, "--output", "json"])
    if status != 0:
        sys.exit(f"aws kinesis {line}: ended with {status}: {errors.getvalue()}")
    return json.loads(out.getvalue()) if out.getvalue().strip() else None


def refused(code: str, line: str) -> None:
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        status = driver.main(["kinesis", *line.split()])
    must(status not in (0, None), f"aws kinesis {line}: expected {code}, and it ended with {status}")
    must(f"({code})" in errors.getvalue(), f"aws kinesis {line}: expected {code}, and it said {errors.getvalue()}")


def active() -> dict:
    def found():
        summary = aws(f"describe-stream-summary --stream-name {NAME}")["StreamDescriptionSummary"]
        return summary if summary["StreamStatus"] == "ACTIVE" else None

    return until(found, f"{NAME} to be ACTIVE")


def read(shard: str, kind: str = "TRIM_HORIZON", more: str = "") -> tuple:
    """The records' data, and the children named at the end of a closed shard."""
    place = aws(f"get-shard-iterator --stream-name {NAME} --shard-id {shard} --shard-iterator-type {kind} {more}")["ShardIterator"]
    data = []
    while place:
        answer = aws("get-records --limit 3 --shard-iterator", place)
        data += [base64.b64decode(record["Data"]) for record in answer["Records"]]
        place, children = answer.get("NextShardIterator"), answer.get("ChildShards", [])
        if not answer["Records"] and answer["MillisBehindLatest"] == 0:
            break
    return data, children


program = os.path.join(os.path.dirname(sys.executable), "aws")
subprocess.run([program, "kinesis", "create-stream", "--stream-name", NAME, "--shard-count", "2"], check=True)
expect(active()["OpenShardCount"], 2, "open shards")
aws(f"wait stream-exists --stream-name {NAME}")
refused("ResourceInUseException", f"create-stream --stream-name {NAME} --shard-count 2")
refused("ResourceNotFoundException", "describe-stream --stream-name story-cli-none")
must(NAME in aws("list-streams")["StreamNames"], "the stream is not listed")
must(NAME in aws("list-streams --page-size 1")["StreamNames"], "the stream is not listed by pages of one")
stream = aws(f"describe-stream --stream-name {NAME}")["StreamDescription"]
expect([shard["HashKeyRange"]["StartingHashKey"] for shard in stream["Shards"]], ["0", str(HASHES // 2)], "the first hashes")
first, second = (shard["ShardId"] for shard in stream["Shards"])
must(aws("describe-limits")["OpenShardCount"] >= 2, "describe-limits")

said = aws(f"put-record --stream-name {NAME} --partition-key a --explicit-hash-key 0 --data", "één")
expect(said["ShardId"], first, "the shard of hash 0")
records = [{"PartitionKey": "b", "ExplicitHashKey": "0", "Data": f"batch {number}"} for number in range(6)]
answer = aws(f"put-records --stream-name {NAME} --records", json.dumps(records))
expect((answer.get("FailedRecordCount", 0), {it["ShardId"] for it in answer["Records"]}), (0, {first}), "put-records")
wanted = ["één".encode(), *(b"batch %d" % number for number in range(6))]
expect(read(first), (wanted, []), "from TRIM_HORIZON")
third = answer["Records"][1]["SequenceNumber"]
expect(read(first, "AT_SEQUENCE_NUMBER", f"--starting-sequence-number {third}")[0], wanted[2:], "AT_SEQUENCE_NUMBER")
expect(read(first, "AFTER_SEQUENCE_NUMBER", f"--starting-sequence-number {third}")[0], wanted[3:], "AFTER_SEQUENCE_NUMBER")
expect(read(first, "AT_TIMESTAMP", "--timestamp 1500000000")[0], wanted, "AT_TIMESTAMP")
expect(read(first, "LATEST")[0], [], "from LATEST")

arn = stream["StreamARN"]
consumer = aws(f"register-stream-consumer --stream-arn {arn} --consumer-name reader")["Consumer"]["ConsumerARN"]
until(lambda: aws(f"describe-stream-consumer --consumer-arn {consumer}")["ConsumerDescription"]["ConsumerStatus"] == "ACTIVE", "the consumer")
expect([it["ConsumerName"] for it in aws(f"list-stream-consumers --stream-arn {arn}")["Consumers"]], ["reader"], "the consumers")
aws(f"deregister-stream-consumer --consumer-arn {consumer}")

aws(f"split-shard --stream-name {NAME} --shard-to-split {first} --new-starting-hash-key {HASHES // 4}")
expect(active()["OpenShardCount"], 3, "open shards after the split")
children = [shard["ShardId"] for shard in aws(f"list-shards --stream-name {NAME}")["Shards"] if shard.get("ParentShardId") == first]
data, named = read(first)
expect((data, [it["ShardId"] for it in named]), (wanted, children), "the closed shard and its children")
aws(f"merge-shards --stream-name {NAME} --shard-to-merge {children[0]} --adjacent-shard-to-merge {children[1]}")
expect(active()["OpenShardCount"], 2, "open shards after the merge")
said = aws(f"update-shard-count --stream-name {NAME} --target-shard-count 4 --scaling-type UNIFORM_SCALING")
expect((said["CurrentShardCount"], said["TargetShardCount"]), (2, 4), "update-shard-count")
expect(active()["OpenShardCount"], 4, "open shards")

aws(f"add-tags-to-stream --stream-name {NAME} --tags team=shop,tier=1")
aws(f"remove-tags-from-stream --stream-name {NAME} --tag-keys tier")
expect(aws(f"list-tags-for-stream --stream-name {NAME}")["Tags"], [{"Key": "team", "Value": "shop"}], "tags")
aws(f"increase-stream-retention-period --stream-name {NAME} --retention-period-hours 48")
expect(active()["RetentionPeriodHours"], 48, "retention")
aws(f"decrease-stream-retention-period --stream-name {NAME} --retention-period-hours 24")
refused("InvalidArgumentException", f"decrease-stream-retention-period --stream-name {NAME} --retention-period-hours 12")
aws(f"delete-stream --stream-name {NAME} --enforce-consumer-deletion")
aws(f"wait stream-not-exists --stream-name {NAME}")
refused("ResourceNotFoundException", f"describe-stream --stream-name {NAME}")
tell(done=NAME)
