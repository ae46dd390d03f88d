"""From the moment a record was due to its arrival at a reader: through the Kinesis door beside each peer that syncs, and NATS as it comes.

The door and one peer run side by side for the same minutes, loaded at the same rate, each between the records of the other: what this
machine and its disk do now and then, they do to both. NATS as it comes is alone: what it does not sync would be written meanwhile."""

import concurrent.futures
import math
import os
import shutil
import statistics
import time

import page
from machine import percentile
from stream_peers import RATE, SHARDS, Load, door, nats, redis

# A round of one pair; within the five minutes for which a subscription lasts and a signature is good.
SECONDS = 45
# Until everybody has made what it will send, and is ready to begin.
READY_MS = 5_000
P99_MS = 10
# A record that takes longer met a disk that stood still: without that, none took more than 8 ms.
PAUSE_MS = 20
PEERS = {
    "Redis": ("Redis Streams, appendfsync always", "redis", redis),
    "NATS": ("NATS JetStream, sync_interval always", "nats", lambda run: nats(run, synced=True)),
}
PAIRS = [(shards, peer) for shards in (1, SHARDS) for peer in PEERS]


def round_of(run, load: Load) -> dict:
    """One round: each pair under its name, and NATS alone."""
    seconds = 4 if run.quick else SECONDS
    os.sync()  # what was written before is no longer on its way
    with nats(run) as peer:
        found = {"NATS alone": load("nats", "latency", peer.address, seconds=seconds)}
    for shards, peer in PAIRS:
        taken = pair(run, load, shards, peer, seconds)
        found[name_of(shards, peer)] = taken
        p99 = " · ".join(f"{side['got_ms']['p99']:.2f}" for side in taken.values())
        print(f"   put → get p99 in ms, {name_of(shards, peer)}: {p99}", flush=True)
    return found


def name_of(shards: int, peer: str) -> str:
    return f"door {shards} beside {peer}"


def pair(run, load: Load, shards: int, peer: str, seconds: int) -> dict:
    _, target, start = PEERS[peer]
    with door(run, "put-to-get") as server, start(run) as other:
        os.sync()
        together = {"seconds": seconds, "beside": 2, "begin": int(time.time() * 1000) + READY_MS}
        # One thread each, to wait for its load program.
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            ours = pool.submit(load, "kinesis", "latency", server.kinesis, shards=shards, place=0, **together)
            its = pool.submit(load, target, "latency", other.address, place=1, **together)
            found = {"door": ours.result(), "peer": its.result()}
    shutil.rmtree(os.path.join(run.folder, "put-to-get"))
    return found


def median_within(ordered: list) -> tuple:
    """The median and between which values it lies in 95 of 100 runs: by their order, whatever their distribution."""
    apart = 0.98 * math.sqrt(len(ordered))
    low, high = (ordered[min(len(ordered) - 1, max(0, round(len(ordered) / 2 + it)))] for it in (-apart, apart))
    return statistics.median(ordered), low, high


def compared(rounds: list) -> dict:
    """The records of all rounds of a pair, in ms, and how many times the peer's p99 the door's is: over all, in each round, and in each
    slice of a round; and the p99 of both without the slices in which the disk stood still. Takes the single records out of the rounds."""
    ms = {side: [[[us / 1000 for us in part] for part in taken[side].pop("got_us_of_slices")] for taken in rounds] for side in ("door", "peer")}

    def p99s(groups: dict) -> float:
        ours, its = (percentile(groups[side], 0.99) for side in ("door", "peer"))
        return ours / its

    def flat(parts: list) -> list:
        return [one for part in parts for one in part]

    every = {side: flat(flat(parts)) for side, parts in ms.items()}
    slices = [{"door": ours, "peer": its} for ours, its in zip(flat(ms["door"]), flat(ms["peer"]), strict=True)]
    calm = [one for one in slices if max(*one["door"], *one["peer"]) <= PAUSE_MS] or slices
    each_round = [{"door": flat(ours), "peer": flat(its)} for ours, its in zip(ms["door"], ms["peer"], strict=True)]
    return {
        side: {name: percentile(records, q) for name, q in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))} for side, records in every.items()
    } | {
        "records": len(every["door"]),
        "slices": len(slices),
        "paused": len(slices) - len(calm),
        "calm_p99": [percentile(flat([one[side] for one in calm]), 0.99) for side in ("door", "peer")],
        "p99_times": p99s(every),
        "p99_times_of_rounds": [p99s(one) for one in each_round],
        "p99_times_of_slices": median_within(sorted(p99s(one) for one in slices)),
    }


def table(rounds: list, pairs: dict, native: list, sync_ms: float) -> str:
    def times(values: list, kind: str) -> list:
        return [statistics.median(taken[kind][part] for taken in values) for part in ("p50", "p99", "p999")]

    def alone(what: str, values: list) -> list:
        cells = [f"{at:.2f}" for at in [*times(values, "got_ms"), *times(values, "acknowledged_ms")[:2]]]
        return [what, *cells[:2], "", *cells[2:], ""]

    def beside(shards: int, peer: str) -> list:
        name = name_of(shards, peer)
        found = pairs[name]
        acknowledged = [times([taken[name][side] for taken in rounds], "acknowledged_ms")[:2] for side in ("door", "peer")]
        got = [[found[side][part] for part in ("p50", "p99", "p999")] for side in ("door", "peer")]
        calm = " · ".join(f"{p99:.2f}" for p99 in found["calm_p99"])
        cells = [f"{ours:.2f} · {its:.2f}" for ours, its in zip(got[0] + acknowledged[0], got[1] + acknowledged[1], strict=True)]
        cells.insert(2, calm)
        short = page.verdict(found["door"]["p99"] < P99_MS) if sync_ms < 1 else f"not to be judged, a sync costs {sync_ms:.2f} ms"
        if found["door"]["p99"] >= P99_MS:
            short += f" with pauses, {page.verdict(found['calm_p99'][0] < P99_MS)} without"
        each = " ".join(f"{times:.2f}" for times in found["p99_times_of_rounds"])
        usual, low, high = found["p99_times_of_slices"]
        judged = f"p99 < {P99_MS} ms {short}; not above {peer} {page.verdict(found['p99_times'] <= 1)}: {found['p99_times']:.2f} × (rounds {each}; by half seconds {usual:.2f}, 95 % interval {low:.2f} to {high:.2f})"
        return [f"Kinesis door, {shards} shard{'s' if shards > 1 else ''} · {PEERS[peer][0]}", *cells, judged]

    body = [
        alone("riverrun, the log in this process", native),
        *(beside(shards, peer) for shards, peer in PAIRS),
        alone("NATS JetStream as it comes (**no sync**)", [taken["NATS alone"] for taken in rounds]),
    ]
    text = page.rows([f"put → get at {RATE:,} records/s, ms", "p50", "p99", "without pauses", "p99.9", "acknowledged p50", "p99", "target"], body)
    sides = [taken[name][side] for taken in rounds for name in pairs for side in ("door", "peer")]
    late = [side["late_ms"] for side in sides]
    one = next(iter(pairs.values()))
    paused = ", ".join(str(pairs[name_of(*names)]["paused"]) for names in PAIRS)
    priority = "with real-time priority, as clients on another machine would not wait for cores that a server uses" if all(side["on_time"] for side in sides) else "**without** real-time priority, which was not allowed"
    return text + (
        f"\n\nThe door is PutRecord → SubscribeToShard, Redis XADD → XREAD, NATS a push consumer. A row with two names: both servers side by side, {one['records']:,} records each in {len(rounds)} rounds,"
        " each server's between those of the other; all rounds together, but acknowledged the median of the rounds."
        f" Without pauses: without the half seconds in which a record of either took more than {PAUSE_MS} ms, because the disk stood still: {paused} of {one['slices']}, row by row. The load program runs {priority}. How late it was, which is part of all of them:"
        f" p99 {statistics.median(it['p99'] for it in late):.2f} ms, p99.9 {statistics.median(it['p999'] for it in late):.2f} ms."
    )
