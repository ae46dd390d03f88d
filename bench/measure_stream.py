"""The stream beside what teams would pick instead: Redis Streams, NATS JetStream, and for the Kinesis door kinesalite.

Publishing and reading are measured by turns in the same minutes on the same disk, put → get side by side (put_to_get), with the same
load program (bench/load; the log in this process is measured by `riverrun bench stream`)."""

import json
import os
import shutil
import statistics
import subprocess

import machine
import page
import put_to_get
from stream_peers import RATE, SHARDS, SIZE, Load, door, kinesalite, nats, redis

MANY_SHARDS = 1000
# The log in this process takes turns with the raw disk: as short as what it writes fits into the memory that is made ready for each.
NATIVE_SECONDS, NATIVE_TURNS = 3, 3
IDLE = 10_000
FACTORS = {"native": 1.5, "door": 10, "catch_up": 2}
CATCH_UP_MB = 1000
SHARE = 0.6
# How the raw disk is written, and whether the share of it is judged: a ring keeps nothing, which a log cannot do.
RAW = {"appended": True, "prepared": True, "ring": False}


def native(run, shards: int) -> dict:
    turns = 1 if run.quick else NATIVE_TURNS
    command = [run.binary, "bench", "stream", "--dir", run.folder, "--shards", str(shards), "--rounds", str(turns), "--seconds", str(NATIVE_SECONDS)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def measure(run) -> dict:
    load = Load(run)
    rounds = 1 if run.quick else 3
    found = {"probes": [], "publish": {}, "latency": [], "read": {}, "native": {}}

    def note(part: str, name: str, value: dict) -> None:
        found[part].setdefault(name, []).append(value)
        print(f"   {part} {name}: {json.dumps({key: value[key] for key in value if key in ('mb_per_s', 'records_per_s')})}", flush=True)

    for _ in range(rounds):
        found["probes"].append(machine.probe(run.folder))
        for shards in (1, SHARDS):
            note("native", f"{shards}", native(run, shards))
        for peer, kind in ((redis(run), "redis"), (nats(run), "nats")):
            with peer:
                note("publish", kind, load(kind, "publish", peer.address))
                note("read", kind, load(kind, "read", peer.address))
        with nats(run, synced=True) as peer:
            note("publish", "nats synced", load("nats", "publish", peer.address))
        with door(run, "door") as server:
            note("publish", "door", load("kinesis", "publish", server.kinesis))
            note("read", "door", load("kinesis", "read", server.kinesis))
        shutil.rmtree(os.path.join(run.folder, "door"))
        with kinesalite(run) as peer:
            note("publish", "kinesalite", load("kinesis", "publish", peer.address))
        found["latency"].append(put_to_get.round_of(run, load))
    names = [put_to_get.name_of(*pair) for pair in put_to_get.PAIRS]
    found["compared"] = {name: put_to_get.compared([taken[name] for taken in found["latency"]]) for name in names}
    found["crowd"] = crowd(run, load)
    return found


def crowd(run, load: Load) -> dict:
    """A thousand shards, then ten thousand idle connections beside them: memory and the latency of one shard."""
    idle = 500 if run.quick else IDLE
    with door(run, "crowd") as server:
        few = server.memory_mb()
        os.sync()
        alone = load("kinesis", "latency", server.kinesis)
        shards = load("kinesis", "latency", server.kinesis, shards=MANY_SHARDS)
        with_shards = server.memory_mb()
        beside = load("kinesis", "latency", server.kinesis, shards=MANY_SHARDS, idle=idle)
        peak = server.memory_mb(peak=True)
    return {"few_mb": few, "alone": alone, "shards": shards, "shards_mb": with_shards, "idle": idle, "beside": beside, "peak_mb": peak}


def middle(values: list, *path: str) -> float:
    """The median over the rounds."""

    def at(value):
        for part in path:
            value = value[part]
        return value

    return statistics.median(at(value) for value in values)


def table(found: dict) -> str:
    publish, read, own = found["publish"], found["read"], found["native"]
    rate = {name: middle(publish[name], "records_per_s") for name in publish}
    for shards in own:
        rate[f"native {shards}"] = statistics.median(it["records_per_s"] for run in own[shards] for it in run["rounds"])
    durable = max(rate["redis"], rate["nats synced"])
    parts = [f"fdatasync of 4 KiB before each round, p50 / p99 in ms: {'; '.join(found['probes'])}."]

    def megabytes(records: float) -> str:
        return f"{records * SIZE / 1e6:,.0f}"

    def published(what: str, name: str, durability: str, verdict: str) -> list:
        return [what, durability, f"{rate[name]:,.0f}", megabytes(rate[name]), verdict]

    best = max(rate["native 1"], rate[f"native {SHARDS}"])
    factors = f"{best / durable:.1f} × the best that syncs, {best / rate['nats']:.1f} × NATS as it comes: {page.verdict(best >= FACTORS['native'] * max(durable, rate['nats']))}"
    door_factor = rate["door"] / rate["kinesalite"]
    body = [
        published("riverrun, the log in this process, 1 shard", "native 1", "sync before the answer", ""),
        published(f"riverrun, the log in this process, {SHARDS} shards", f"native {SHARDS}", "sync before the answer", factors),
        published(f"riverrun, Kinesis door, {SHARDS} shards", "door", "sync before the answer", f"{door_factor:.1f} × kinesalite: {page.verdict(door_factor >= FACTORS['door'])}"),
        published("Redis Streams, appendfsync always", "redis", "sync before the answer", ""),
        published("NATS JetStream, sync_interval always", "nats synced", "sync before the answer", ""),
        published("NATS JetStream, as it comes", "nats", "**no sync before the answer** (every 2 minutes)", ""),
        published(f"kinesalite, {SHARDS} shards", "kinesalite", "LevelDB, **no sync**", ""),
    ]
    text = page.rows(["publish 1 KiB, acknowledged", "durability", "records/s", "MB/s", "target"], body)
    text += "\n\nFour connections with 500 records on their way each. The log in this process is called without a network between; the others are reached over loopback TCP by one load program."

    native_latency = [run["latency"] for run in own["1"]]
    sync_ms = statistics.median(float(probe.split(" / ")[0]) for probe in found["probes"])
    text += "\n\n" + put_to_get.table(found["latency"], found["compared"], native_latency, sync_ms)

    speed = {name: middle(read[name], "mb_per_s") for name in read}
    speed["native"] = statistics.median(run["read"]["mb_per_s"] for shards in own for run in own[shards])
    best_peer = max(speed["redis"], speed["nats"])
    met = page.verdict(speed["native"] >= max(CATCH_UP_MB, FACTORS["catch_up"] * best_peer))
    body = [
        ["riverrun, the log in this process", f"{speed['native']:,.0f}", f"{speed['native'] / best_peer:.1f} × the best peer: {met}"],
        ["riverrun, GetRecords over JSON", f"{speed['door']:,.0f}", ""],
        ["Redis Streams, XREAD", f"{speed['redis']:,.0f}", ""],
        ["NATS JetStream, push consumer with flow control", f"{speed['nats']:,.0f}", ""],
    ]
    text += "\n\n" + page.rows(["catch-up from the page cache", "MB/s", f"target ≥ {CATCH_UP_MB:,} MB/s and {FACTORS['catch_up']} × the best peer"], body)

    body = []
    for shards in own:
        every = [it for run in own[shards] for it in run["rounds"]]
        cells = [statistics.median(it[name] for it in every) for name in ("group_bytes", "mb_per_s")]
        row = [shards, f"{cells[0] / 1024:,.0f}", f"{cells[1]:,.0f}"]
        for way, judged in RAW.items():
            raw = statistics.median(it["raw_mb_per_s"][way] for it in every)
            share = statistics.median(it["mb_per_s"] / it["raw_mb_per_s"][way] for it in every)
            row.append(f"{raw:,.0f}: {share:.2f}{' ' + page.verdict(share >= SHARE) if judged else ''}")
        body.append(row)
    head = ["shards", "KiB per sync", "published MB/s", f"raw, appended: share, target {SHARE}", f"raw, over prepared blocks: share, target {SHARE}", "raw, a ring in memory: share"]
    text += "\n\n" + page.rows(head, body)
    text += "\n\nRaw: MB/s of as many files as shards, as many bytes before each sync as the log wrote. Appended: room reserved ahead, as the log does. Over prepared blocks: once over files that were written before, of which nothing is in memory, the most that this disk does for who keeps what is written. A ring: over the same 256 MiB again and again, which never leave memory."

    crowd_ = found["crowd"]

    def got(who: str) -> list:
        return [f"{crowd_[who]['got_ms'][part]:.2f}" for part in ("p50", "p99", "p999")]

    body = [
        [f"{SHARDS} shards", f"{crowd_['few_mb']:,.0f}", *got("alone")],
        [f"{MANY_SHARDS:,} shards", f"{crowd_['shards_mb']:,.0f}", *got("shards")],
        [f"{MANY_SHARDS:,} shards and {crowd_['idle']:,} idle connections", f"{crowd_['peak_mb']:,.0f}", *got("beside")],
    ]
    text += "\n\n" + page.rows([f"Kinesis door, {RATE:,} records/s", "memory MB", "p50 ms", "p99 ms", "p99.9 ms"], body)
    return text + "\n\n" + " ".join(parts)
