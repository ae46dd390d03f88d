"""Ten shop queries over ten million rows in the lake, beside DuckDB, chDB and Polars on the same files in the same run.

A query is `queries/NAME.sql`; an engine whose SQL differs has its own `queries/NAME.duckdb.sql`, `.chdb.sql` or `.polars.sql`. All must give
the same rows. riverrun answers over HTTP with an Arrow stream, as a client sees it; the others answer inside the measuring process.
"""

import glob
import os
import statistics
import time

import machine
import page
import peers
from rows import lake
from server import Server

REPEATS = 7


def load(folder: str) -> dict:
    """Name → SQL by engine."""
    queries = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.sql"))):
        name, *engine = os.path.basename(path).removesuffix(".sql").split(".")
        with open(path, encoding="utf-8") as file:
            queries.setdefault(name, {})[engine[0] if engine else "all"] = file.read().strip().rstrip(";")
    return queries


def measure(run) -> dict:
    folder, rows = lake(run)
    queries = load(os.path.join(run.root, "bench/queries"))
    probe = machine.probe(folder)
    times, differences = {}, []
    with Server(run.binary, folder) as server:
        files = peers.files_of(os.path.join(folder, "data/lake/events"))
        engines = [peers.Riverrun(server), peers.DuckDB(files), peers.ChDB(files), peers.Polars(files)]
        for name, by_engine in queries.items():
            answers, taken = {}, {}
            for engine in engines:
                sql = by_engine.get(engine.name.lower(), by_engine.get("all"))
                try:
                    answers[engine.name] = peers.comparable(engine.table(sql))  # the first run warms up and is compared
                    taken[engine] = (sql, [])
                except Exception as failure:
                    differences.append(f"{name}: {engine.name} failed: {str(failure)[:200]}")
            # By turns, so that a busy moment of the machine does not fall on one engine alone.
            for _ in range(2 if run.quick else REPEATS):
                for engine, (sql, ms) in taken.items():
                    start = time.perf_counter()
                    engine.table(sql)
                    ms.append((time.perf_counter() - start) * 1e3)
            times[name] = {engine.name: statistics.median(ms) for engine, (_, ms) in taken.items()}
            reference = answers.get("DuckDB")
            for engine_name, answer in answers.items():
                if answer != reference:
                    differences.append(f"{name}: {engine_name} gave {len(answer)} rows, not those {len(reference or [])} of DuckDB")
            print(f"   {name}: " + ", ".join(f"{who} {ms:.0f} ms" for who, ms in times[name].items()), flush=True)
        memory = server.memory_mb(peak=True)
    return {"rows": rows, "ms": times, "differences": differences, "memory_mb": memory, "files": len(files), "probe": probe}


def table(found: dict) -> str:
    names = ["riverrun", "DuckDB", "chDB", "Polars"]
    body, worst = [], ("", 0.0)
    for query, ms in found["ms"].items():
        best = min(ms.values())
        ratio = ms.get("riverrun", float("inf")) / best
        worst = max(worst, (query, ratio), key=lambda it: it[1])
        body.append([query.split("-", 1)[-1].replace("-", " "), *(f"{ms[who]:.0f}" if who in ms else "–" for who in names), f"{ratio:.1f} ×"])
    sums = {who: sum(ms[who] for ms in found["ms"].values() if who in ms) for who in names}
    body.append(["**sum**", *(f"**{sums[who]:.0f}**" for who in names), ""])
    verdicts = (
        f"The sum is {sums['riverrun'] / sums['DuckDB']:.2f} × DuckDB's: {page.verdict(sums['riverrun'] <= sums['DuckDB'])}."
        f" The worst query is {worst[1]:.1f} × the best engine ({worst[0]}): {page.verdict(worst[1] <= 3)}."
    )
    same = "All engines gave the same rows." if not found["differences"] else "Differences: " + "; ".join(found["differences"]) + "."
    return (
        page.rows(["query", *(f"{who} ms" for who in names), "riverrun / best"], body)
        + f"\n\n{verdicts} {same} {found['rows']:,} rows in {found['files']} files; medians of {REPEATS} warm runs by turns. Peak memory of the server"
        + f" {found['memory_mb']:.0f} MB. fdatasync of 4 KiB, p50 / p99 in ms: {found['probe']}."
    )
