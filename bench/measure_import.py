"""`riverrun import` of combined log lines: lines per second until all are acknowledged, and until all are in SQL."""

import gzip
import os
import subprocess
import time

import machine
import page
from server import Server

TARGET = 300_000

FILE = """data = "data"

[console]
listen = "127.0.0.1:0"

[stream.access]
shards = 2

[table.access]
from = "access"
format = "combined"
flush = { every = "10s", size = "64MiB" }
sql = "select event_time, c_ip, cs_method, cs_uri_stem as path, sc_status as status, sc_bytes as bytes, cs_referer as referer, cs_user_agent as agent from record"
"""


def measure(run) -> dict:
    folder = run.make("import")
    real = run.shared_input("data/access-combined-10k.log.gz")
    if real:
        with gzip.open(real, "rb") as file:
            text = file.read()
    else:
        with open(os.path.join(run.root, "tests/data/combined-sample.log"), "rb") as file:
            text = file.read() * 170
    if not text.endswith(b"\n"):
        text += b"\n"
    times = 20 if run.quick else 300
    log = os.path.join(folder, "access.log")
    with open(log, "wb") as file:
        for _ in range(times):
            file.write(text)
    lines = text.count(b"\n") * times
    with open(os.path.join(folder, "riverrun.toml"), "w", encoding="utf-8") as file:
        file.write(FILE)
    probe = machine.probe(folder)
    with Server(run.binary, folder) as server:
        start = time.perf_counter()
        subprocess.run(
            [run.binary, "import", log, "--stream", "access", "--format", "combined", "--server", server.url],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        acknowledged = time.perf_counter() - start
        seen = "select (select count(*) from access) + (select count(*) from system.rejected)"
        while (there := server.number(seen)) < lines and time.perf_counter() - start < 600:
            time.sleep(0.1)
        visible = time.perf_counter() - start
        memory = server.memory_mb(peak=True)
        if there != lines:
            raise RuntimeError(f"{there} rows of {lines} lines")
    return {
        "lines": lines,
        "bytes": len(text) * times,
        "real": bool(real),
        "acknowledged_s": acknowledged,
        "visible_s": visible,
        "memory_mb": memory,
        "probe": probe,
    }


def table(found: dict) -> str:
    rate = found["lines"] / found["acknowledged_s"]
    body = [
        ["acknowledged (on disk)", f"{found['acknowledged_s']:.1f}", f"{rate:,.0f}", f"{found['bytes'] / found['acknowledged_s'] / 1e6:.0f}"],
        [
            "all in SQL",
            f"{found['visible_s']:.1f}",
            f"{found['lines'] / found['visible_s']:,.0f}",
            f"{found['bytes'] / found['visible_s'] / 1e6:.0f}",
        ],
    ]
    kind = "real requests, repeated" if found["real"] else "made lines, repeated"
    return (
        page.rows(["until", "s", "lines/s", "MB/s"], body)
        + f"\n\n{found['lines']:,} lines ({kind}); the target of {TARGET:,} lines/s is {page.verdict(rate >= TARGET)} for acknowledged lines,"
        + f" {page.verdict(found['lines'] / found['visible_s'] >= TARGET)} until all are in SQL. Peak memory of the server"
        + f" {found['memory_mb']:.0f} MB. fdatasync of 4 KiB, p50 / p99 in ms: {found['probe']}."
    )
