"""Collector to lake: 20-column click events in batches, as fast as they are taken, for a minute."""

import json
import os
import subprocess
import threading
import time

import machine
import page
from server import Server

TARGET = 100_000
MEMORY_TARGET_MB = 700


def measure(run) -> dict:
    folder = os.path.join(run.folder, "ingest")
    subprocess.run([run.binary, "bench", "file", "--data", folder], check=True, stdout=subprocess.DEVNULL)
    probe = machine.probe(folder)
    seconds = 5 if run.quick else 60
    with Server(run.binary, folder) as server:
        memory, done = [], threading.Event()

        def watch():
            while not done.wait(0.5):
                memory.append(server.memory_mb())

        watcher = threading.Thread(target=watch)
        watcher.start()
        start = time.perf_counter()
        client = subprocess.run(
            [run.binary, "bench", "load", "--stream", "events", "--seconds", str(seconds), "--server", server.url],
            capture_output=True,
            text=True,
            check=True,
        )
        sent_for = time.perf_counter() - start
        said = json.loads(client.stdout)
        there = 0
        while (there := server.number("select count(*) from events")) < said["accepted"] and time.perf_counter() - start < 600:
            time.sleep(0.2)
        visible_after = time.perf_counter() - start
        done.set()
        watcher.join()
        cpu = server.cpu_s()
        peak = server.memory_mb(peak=True)
        stop_s = server.stop()
    if there != said["accepted"]:
        raise RuntimeError(f"{there} rows of {said['accepted']} accepted events")
    return {
        "client": said,
        "rows": there,
        "sent_s": sent_for,
        "visible_s": visible_after,
        "last_flush_s": stop_s,
        "cpu_s": cpu,
        "memory_mb": peak,
        "probe": probe,
    }


def table(found: dict) -> str:
    # From the first request to the last row in the lake: what waits in a queue has not arrived.
    whole = found["rows"] / (found["visible_s"] + found["last_flush_s"])
    accepted = found["rows"] / found["sent_s"]
    body = [
        ["acknowledged (on disk)", f"{found['sent_s']:.1f}", f"{accepted:,.0f}"],
        ["all in SQL", f"{found['visible_s']:.1f}", f"{found['rows'] / found['visible_s']:,.0f}"],
        ["all in the lake (last flush and clean end included)", f"{found['visible_s'] + found['last_flush_s']:.1f}", f"{whole:,.0f}"],
    ]
    return (
        page.rows(["until", "s", "events/s"], body)
        + f"\n\n{found['rows']:,} events; the target of {TARGET:,} events/s into the lake is {page.verdict(whole >= TARGET)}; peak memory"
        + f" {found['memory_mb']:.0f} MB, target {MEMORY_TARGET_MB} MB {page.verdict(found['memory_mb'] < MEMORY_TARGET_MB)}."
        + f" {found['cpu_s']:.0f} processor seconds of the server; the client shares the cores."
        + f" fdatasync of 4 KiB, p50 / p99 in ms: {found['probe']}."
    )
