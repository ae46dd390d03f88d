"""Start to ready on ten million rows, memory when idle, and the size of the binary."""

import os
import shutil
import statistics
import subprocess
import time

import machine
import page
from rows import lake
from server import Server

READY_TARGET_S = 1.0
IDLE_TARGET_MB = 120
STARTS = 5


def measure(run) -> dict:
    folder, rows = lake(run)
    probe = machine.probe(folder)
    ready, idle = [], []
    for _ in range(STARTS):
        with Server(run.binary, folder) as server:
            ready.append(server.ready_s)
            time.sleep(1 if run.quick else 10)
            idle.append(server.memory_mb())
    with Server(run.binary, folder) as server:
        there = server.number("select count(*) from events")
        after_query = server.memory_mb()
    if there != rows:
        raise RuntimeError(f"{there} rows of {rows}")
    stripped = os.path.join(run.make("start"), "riverrun")
    shutil.copy(run.binary, stripped)
    subprocess.run(["strip", stripped], check=True)
    return {
        "rows": rows,
        "ready_s": ready,
        "idle_mb": idle,
        "after_query_mb": after_query,
        "binary_mb": os.path.getsize(run.binary) / 1e6,
        "stripped_mb": os.path.getsize(stripped) / 1e6,
        "probe": probe,
    }


def table(found: dict) -> str:
    ready, idle = statistics.median(found["ready_s"]), statistics.median(found["idle_mb"])
    body = [
        ["start to ready", f"{ready:.2f} s", f"< {READY_TARGET_S:.0f} s", page.verdict(ready < READY_TARGET_S)],
        ["idle memory, 10 s after start", f"{idle:.0f} MB", f"< {IDLE_TARGET_MB} MB", page.verdict(idle < IDLE_TARGET_MB)],
        ["memory after one count(*)", f"{found['after_query_mb']:.0f} MB", "stated", ""],
        ["binary, as built", f"{found['binary_mb']:.0f} MB", "stated", ""],
        ["binary, stripped", f"{found['stripped_mb']:.0f} MB", "stated", ""],
    ]
    return (
        page.rows(["what", f"on {found['rows']:,} rows", "target", ""], body)
        + f"\n\nMedians of {STARTS} starts, the file cache warm. fdatasync of 4 KiB, p50 / p99 in ms: {found['probe']}."
    )
