"""The stream beside what teams would pick instead: Redis Streams, NATS JetStream, and for the Kinesis door kinesalite.

All of them run by turns in the same minutes on the same disk, with the same load program (bench/load; the log in this process is
measured by `riverrun bench stream`). Every latency counts from when its record was due."""

import concurrent.futures
import contextlib
import json
import math
import os
import shutil
import signal
import socket
import statistics
import subprocess
import time

import machine
import page
from server import Server

SIZE = 1024
RATE = 1000
KEY = ("AKIDRIVERRUNBENCH", "riverrun-bench-secret")
SHARDS = 4
MANY_SHARDS = 1000
# Latency is taken with all servers that sync running side by side, each loaded in its own turns of half a second: in shorter ones, coming
# back after a rest is most of what is measured. So many turns that what the machine and its disk do to one server's turn now and then
# decides nothing; all of a round within the five minutes for which a subscription lasts and a signature is good.
LATENCY_SECONDS, TURN_MS = 45, 500
SYNCED = ["redis", "door 1", f"door {SHARDS}"]
# A record that takes longer met a disk that stood still: in rounds without that, none took more than 7 ms.
PAUSE_MS = 20
# The log in this process takes turns with the raw disk: as short as what it writes fits into the memory that is made ready for each.
NATIVE_SECONDS, NATIVE_TURNS = 3, 3
IDLE = 10_000
FACTORS = {"native": 1.5, "door": 10, "catch_up": 2}
CATCH_UP_MB = 1000
SHARE = 0.6
P99_MS = 10

FILE = f"""data = "data"

[console]
listen = "127.0.0.1:0"

[kinesis]
listen = "127.0.0.1:0"

[kinesis.keys]
{KEY[0]} = "{KEY[1]}"
"""


class Peer:
    """Another server, started in a folder of its own and ended with the measurement."""

    def __init__(self, name: str, folder: str, command: list):
        self.name, self.folder = name, folder
        os.makedirs(folder, exist_ok=True)
        self.address = f"127.0.0.1:{free_port()}"
        self.command = [part.replace("PORT", self.address.split(":")[1]).replace("FOLDER", folder) for part in command]

    def __enter__(self):
        self.log = open(os.path.join(self.folder, "log"), "wb")
        self.process = subprocess.Popen(self.command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        host, port = self.address.split(":")
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
                return self
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not answer: see {self.log.name}")
            time.sleep(0.05)

    def __exit__(self, *failure):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def redis(run) -> Peer:
    command = "redis-server --bind 127.0.0.1 --port PORT --dir FOLDER --appendonly yes --appendfsync always --auto-aof-rewrite-percentage 0"
    return Peer("redis", run.make("redis"), [*command.split(), "--save", ""])


def nats(run) -> Peer:
    folder = run.make("nats")
    return Peer("nats", folder, ["nats-server", "--addr", "127.0.0.1", "--port", "PORT", "--jetstream", "--store_dir", os.path.join(folder, "store")])


def kinesalite(run) -> Peer:
    program = os.path.join(run.root, "bench/kinesalite/node_modules/.bin/kinesalite")
    return Peer("kinesalite", run.make("kinesalite"), ["node", program, "--port", "PORT", "--path", "FOLDER/store", "--createStreamMs", "20", "--deleteStreamMs", "20"])


class Load:
    """The load program, told how long to run."""

    def __init__(self, run):
        target = os.environ.get("CARGO_TARGET_DIR", os.path.join(run.root, "target"))
        self.program = os.path.join(target, "load/release/load")
        if not os.path.exists(self.program):
            raise RuntimeError(f"{self.program} is missing: run scripts/install-bench-tools.sh")
        self.seconds = 2 if run.quick else 10

    def __call__(self, target: str, mode: str, address: str, **more) -> dict:
        arguments = {"address": address, "size": SIZE, "seconds": self.seconds, "rate": RATE, "shards": SHARDS} | more
        command = [self.program, target, mode, *(f"--{name}={value}" for name, value in arguments.items())]
        environment = os.environ | {"AWS_ACCESS_KEY_ID": KEY[0], "AWS_SECRET_ACCESS_KEY": KEY[1]}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{target} {mode}: {done.stderr.strip()[-800:]}")
        return json.loads(done.stdout)


def native(run, shards: int) -> dict:
    turns = 1 if run.quick else NATIVE_TURNS
    command = [run.binary, "bench", "stream", "--dir", run.folder, "--shards", str(shards), "--rounds", str(turns), "--seconds", str(NATIVE_SECONDS)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def door(run, name: str) -> Server:
    folder = run.make(name)
    with open(os.path.join(folder, "riverrun.toml"), "w", encoding="utf-8") as file:
        file.write(FILE)
    return Server(run.binary, folder)


def measure(run) -> dict:
    load = Load(run)
    rounds = 1 if run.quick else 3
    found = {"probes": [], "publish": {}, "latency": {}, "read": {}, "native": {}}

    def note(part: str, name: str, value: dict) -> None:
        found[part].setdefault(name, []).append(value)
        print(f"   {part} {name}: {json.dumps({key: value[key] for key in value if key in ('mb_per_s', 'records_per_s', 'got_ms')})}", flush=True)

    for _ in range(rounds):
        found["probes"].append(machine.probe(run.folder))
        for shards in (1, SHARDS):
            note("native", f"{shards}", native(run, shards))
        for peer, kind in ((redis(run), "redis"), (nats(run), "nats")):
            with peer:
                note("publish", kind, load(kind, "publish", peer.address))
                note("read", kind, load(kind, "read", peer.address))
        with door(run, "door") as server:
            note("publish", "door", load("kinesis", "publish", server.kinesis))
            note("read", "door", load("kinesis", "read", server.kinesis))
        shutil.rmtree(os.path.join(run.folder, "door"))
        with kinesalite(run) as peer:
            note("publish", "kinesalite", load("kinesis", "publish", peer.address))
        for name, taken in put_to_get(run, load).items():
            note("latency", name, taken)
    found["compared"] = compared({name: [taken.pop("got_us_of_turns") for taken in found["latency"][name]] for name in SYNCED})
    found["crowd"] = crowd(run, load)
    return found


def put_to_get(run, load: Load) -> dict:
    """From the moment a record was due to its arrival at a reader, for each server in its own turns of the same minutes; but NATS before
    the others: what it does not sync would be written in the turns of those that do."""
    seconds = 4 if run.quick else LATENCY_SECONDS
    os.sync()  # what was written before is no longer on its way
    with nats(run) as peer:
        unsynced = load("nats", "latency", peer.address, seconds=seconds)
    with door(run, "put-to-get") as server, redis(run) as peer:
        asked = [("redis", "redis", peer.address, {})]
        asked += [(f"door {shards}", "kinesis", server.kinesis, {"shards": shards, "stream": f"bench-{shards}"}) for shards in (1, SHARDS)]
        os.sync()
        turns = {"seconds": seconds, "turn-ms": TURN_MS, "turns": len(asked)}
        # One thread each, to wait for its load program.
        with concurrent.futures.ThreadPoolExecutor(len(asked)) as pool:
            begun = {
                name: pool.submit(load, target, "latency", address, **turns, **more, turn=turn)
                for turn, (name, target, address, more) in enumerate(asked)
            }
            taken = {name: measured.result() for name, measured in begun.items()}
    shutil.rmtree(os.path.join(run.folder, "put-to-get"))
    return taken | {"nats": unsynced}


def quantile(ordered: list, q: float) -> float:
    """The smallest value that at least so many are not above."""
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]


def compared(rounds: dict) -> dict:
    """Of each server the records of all rounds, in ms: all of them, and without the cycles of turns in which the disk stood still for anybody."""
    ms = {name: [sorted(us / 1000 for us in turn) for turns in taken for turn in turns] for name, taken in rounds.items()}
    cycles = list(zip(*ms.values(), strict=True))
    still = [any(turn[-1] > PAUSE_MS for turn in cycle) for cycle in cycles]

    def of(turns: list) -> dict:
        calm = sorted(took for turn, stood in zip(turns, still, strict=True) if not stood for took in turn)
        every = sorted(took for turn in turns for took in turn)
        named = {name: quantile(every, q) for name, q in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))}
        return named | {"calm_p99": quantile(calm or every, 0.99), "p99_of_turns": [quantile(turn, 0.99) for turn in turns]}

    return {name: of(turns) for name, turns in ms.items()} | {"cycles": len(still), "left_out": sum(still), "records": sum(map(len, ms["redis"]))}


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
    publish, read, latency, own = found["publish"], found["read"], found["latency"], found["native"]
    rate = {name: middle(publish[name], "records_per_s") for name in publish}
    for shards in own:
        rate[f"native {shards}"] = statistics.median(it["records_per_s"] for run in own[shards] for it in run["rounds"])
    durable = rate["redis"]
    parts = [f"fdatasync of 4 KiB before each round, p50 / p99 in ms: {'; '.join(found['probes'])}."]

    def megabytes(records: float) -> str:
        return f"{records * SIZE / 1e6:,.0f}"

    def published(what: str, name: str, durability: str, verdict: str) -> list:
        return [what, durability, f"{rate[name]:,.0f}", megabytes(rate[name]), verdict]

    best = max(rate["native 1"], rate[f"native {SHARDS}"])
    factors = f"{best / durable:.1f} × Redis, {best / rate['nats']:.1f} × NATS: {page.verdict(best >= FACTORS['native'] * max(durable, rate['nats']))}"
    door_factor = rate["door"] / rate["kinesalite"]
    body = [
        published("riverrun, the log in this process, 1 shard", "native 1", "sync before the answer", ""),
        published(f"riverrun, the log in this process, {SHARDS} shards", f"native {SHARDS}", "sync before the answer", factors),
        published(f"riverrun, Kinesis door, {SHARDS} shards", "door", "sync before the answer", f"{door_factor:.1f} × kinesalite: {page.verdict(door_factor >= FACTORS['door'])}"),
        published("Redis Streams, appendfsync always", "redis", "sync before the answer", ""),
        published("NATS JetStream, as it comes", "nats", "**no sync before the answer** (every 2 minutes)", ""),
        published(f"kinesalite, {SHARDS} shards", "kinesalite", "LevelDB, **no sync**", ""),
    ]
    text = page.rows(["publish 1 KiB, acknowledged", "durability", "records/s", "MB/s", "target"], body)
    text += "\n\nFour connections with 500 records on their way each. The log in this process is called without a network between; the others are reached over loopback TCP by one load program."

    def times(values: list, kind: str) -> list:
        return [f"{middle(values, kind, part):.2f}" for part in ("p50", "p99", "p999")]

    own_latency = [run["latency"] for run in own["1"]]
    sync_ms = statistics.median(float(probe.split(" / ")[0]) for probe in found["probes"])

    by_turns = found["compared"]

    def beside_redis(name: str) -> str:
        """Turn by turn, so that what the machine did meanwhile is about the same for both, and a pause of the disk counts as one turn."""
        own, its = by_turns[name], by_turns["redis"]
        ratios = sorted(one / other for one, other in zip(own["p99_of_turns"], its["p99_of_turns"], strict=True))
        # By the order of the ratios, whatever their distribution: the median lies between these two in 95 of 100 runs.
        apart = 0.98 * math.sqrt(len(ratios))
        low, high = (ratios[min(len(ratios) - 1, max(0, round(len(ratios) / 2 + it)))] for it in (-apart, apart))
        judged = "no difference can be told" if low <= 1 < high else page.verdict(high <= 1)
        pairs = f"{judged} ({statistics.median(ratios):.2f} × in the middle of {len(ratios)} pairs, 95 % interval {low:.2f} to {high:.2f})"
        every, calm = (f"{page.verdict(own[part] <= its[part])} ({own[part] / its[part]:.2f} ×)" for part in ("p99", "calm_p99"))
        return f"turn by turn {pairs}, over all records {every}, without pauses {calm}"

    def put_got(what: str, name: str, values: list) -> list:
        acknowledged = times(values, "acknowledged_ms")[:2]
        if name not in by_turns:
            p50, p99, p999 = times(values, "got_ms")
            return [what, p50, p99, "", p999, *acknowledged, ""]
        own = by_turns[name]
        cells = [what, *(f"{own[part]:.2f}" for part in ("p50", "p99", "calm_p99", "p999")), *acknowledged]
        if not name.startswith("door"):
            return [*cells, ""]
        judged = page.verdict(own["p99"] < P99_MS) if sync_ms < 1 else f"not to be judged, a sync costs {sync_ms:.2f} ms"
        unsynced = own["p99"] / middle(latency["nats"], "got_ms", "p99")
        return [*cells, f"p99 < {P99_MS} ms {judged}; not above Redis, which syncs as well: {beside_redis(name)}; {unsynced:.2f} × NATS, which does not"]

    body = [
        put_got("riverrun, the log in this process", "native", own_latency),
        *(put_got(f"riverrun, PutRecord → SubscribeToShard, {shards} shard{'s' if shards > 1 else ''}", f"door {shards}", latency[f"door {shards}"]) for shards in (1, SHARDS)),
        put_got("Redis Streams, XADD → XREAD, appendfsync always", "redis", latency["redis"]),
        put_got("NATS JetStream as it comes (no sync), push consumer", "nats", latency["nats"]),
    ]
    text += "\n\n" + page.rows([f"put → get at {RATE:,} records/s, ms", "p50", "p99", "without pauses", "p99.9", "acknowledged p50", "p99", "target"], body)

    def quartiles(name: str) -> str:
        return f"{name} {' '.join(f'{at:.2f}' for at in statistics.quantiles(by_turns[name]['p99_of_turns'], n=4))}"

    late = [taken["late_ms"] for rounds in latency.values() for taken in rounds]
    text += f"\n\nThrough the servers: {by_turns['records']:,} records each in {len(latency['redis'])} rounds, Redis and the door running side by side and loaded by turns of {TURN_MS} ms, every other time in reverse. Without pauses: without the {by_turns['left_out']} of {by_turns['cycles']} cycles of turns in which a record of any of them took more than {PAUSE_MS} ms. NATS alone before each round (this version cannot be told to sync, and what it leaves to the kernel would be written in the turns of the others), the medians of the rounds. Quartiles of the p99 of single turns: {'; '.join(map(quartiles, SYNCED))}. How late the load program's own clock was, which is part of all of them: p99 {statistics.median(it['p99'] for it in late):.2f} ms, p99.9 {statistics.median(it['p999'] for it in late):.2f} ms."

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
        cells = [statistics.median(it[name] for it in every) for name in ("group_bytes", "mb_per_s", "raw_appended_mb_per_s", "raw_overwritten_mb_per_s")]
        same = statistics.median(it["mb_per_s"] / it["raw_appended_mb_per_s"] for it in every)
        share = statistics.median(it["share"] for it in every)
        judged = [f"{part:.2f} {page.verdict(part >= SHARE)}" for part in (same, share)]
        body.append([shards, f"{cells[0] / 1024:,.0f}", *(f"{cell:,.0f}" for cell in cells[1:]), *judged])
    head = ["shards", "KiB per sync", "published MB/s", "raw, appended MB/s", "raw, overwritten MB/s", f"share of appended, target {SHARE}", f"share of the better, target {SHARE}"]
    text += "\n\n" + page.rows(head, body)
    text += "\n\nRaw: as many files as shards, as many bytes before each sync as the log wrote; appended with room reserved ahead, as the log does, and over blocks written before, the most that this disk can do."

    crowd_ = found["crowd"]
    body = [
        [f"{SHARDS} shards", f"{crowd_['few_mb']:,.0f}", *times([crowd_["alone"]], "got_ms")],
        [f"{MANY_SHARDS:,} shards", f"{crowd_['shards_mb']:,.0f}", *times([crowd_["shards"]], "got_ms")],
        [f"{MANY_SHARDS:,} shards and {crowd_['idle']:,} idle connections", f"{crowd_['peak_mb']:,.0f}", *times([crowd_["beside"]], "got_ms")],
    ]
    text += "\n\n" + page.rows([f"Kinesis door, {RATE:,} records/s", "memory MB", "p50 ms", "p99 ms", "p99.9 ms"], body)
    return text + "\n\n" + " ".join(parts)
