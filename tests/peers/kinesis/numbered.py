"""numbered.py STREAM KEYS ROUNDS CHANGES: writes ROUNDS numbers for each of KEYS keys in batches of 500 while shards are split and merged
CHANGES times, evenly over the run. A key's next number leaves when the one before is acknowledged."""

import random
import sys
import threading
import time

from door import active, client, end, expect, opened, start, tell

stream, keys, rounds, changes = sys.argv[1], *(int(it) for it in sys.argv[2:])
WRITERS, BATCH = 2, 500
chance = random.Random(1)
written = [0] * WRITERS
failures = []


def write(writer: int) -> None:
    kinesis = client()
    mine = range(writer, keys, WRITERS)
    waiting = [(key, number) for number in range(rounds) for key in mine]
    for at in range(0, len(waiting), BATCH):
        batch = waiting[at:at + BATCH]
        records = [{"PartitionKey": f"key-{key}", "Data": b'{"key": %d, "number": %d, "page": "/products"}' % (key, number)} for key, number in batch]
        answer = kinesis.put_records(StreamName=stream, Records=records)
        failed = [said for said in answer["Records"] if "ErrorCode" in said]
        if failed or failures:
            failures.append(failed[:1])
            return
        written[writer] += len(batch)


def change(kinesis) -> str:
    """Splits or merges one shard, by chance, between two and eight shards."""
    shards = sorted(opened(kinesis.list_shards(StreamName=stream)["Shards"]), key=start)
    if len(shards) <= 2 or (len(shards) < 8 and chance.random() < 0.5):
        one = chance.choice(shards)
        kinesis.split_shard(StreamName=stream, ShardToSplit=one["ShardId"], NewStartingHashKey=str((start(one) + end(one)) // 2))
        return "split"
    at = chance.randrange(len(shards) - 1)
    kinesis.merge_shards(StreamName=stream, ShardToMerge=shards[at]["ShardId"], AdjacentShardToMerge=shards[at + 1]["ShardId"])
    return "merge"


kinesis = client()
begun = time.monotonic()
writers = [threading.Thread(target=write, args=[writer]) for writer in range(WRITERS)]
for writer in writers:
    writer.start()
done = {"split": 0, "merge": 0}
for number in range(changes):
    while sum(written) < keys * rounds * (number + 1) // (changes + 1) and any(writer.is_alive() for writer in writers):
        time.sleep(0.001)
    active(kinesis, stream)
    done[change(kinesis)] += 1
for writer in writers:
    writer.join()
expect(failures, [], "records that were refused")
expect(sum(written), keys * rounds, "records written")
tell(written=sum(written), seconds=round(time.monotonic() - begun, 1), **done)
