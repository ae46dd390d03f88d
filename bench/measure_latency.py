"""Click to visible in SQL and click to drawn in Chromium, at a thousand clicks per second through the edge's request log."""

import bisect
import json
import os
import subprocess

import machine
import page
from server import Server

RATE = 1000
TARGETS_MS = {0.5: 250, 0.99: 1000}
# The load runs longer than the browser watches, so that every watched moment has clicks.
LEAD_S = 8

FILE = """data = "data"

[console]
listen = "127.0.0.1:0"

[edge.site]
listen = "127.0.0.1:0"
root = "site"

[edge.site.log]
stream = "clicks"
sampling_rate = 100
fields = ["timestamp", "c-ip", "cs-method", "cs-uri-stem", "cs-uri-query", "sc-status", "cs-user-agent", "cs-referer", "x-edge-request-id"]

[stream.clicks]

[table.clicks]
from = "clicks"
flush = { every = "10s", size = "64MiB" }
sql = '''
select event_time, arrival_time, query_param(cs_uri_query, 'action') as action, query_param(cs_uri_query, 'product_id') as product_id,
       query_param(cs_uri_query, 'product_name') as product_name, try_cast(query_param(cs_uri_query, 'price') as double) as price,
       query_param(cs_uri_query, 'visitor') as visitor, ua_browser(cs_user_agent) as browser, is_bot(cs_user_agent) as is_bot, id as request_id
from record where cs_uri_stem = '/action'
'''

[[dashboard.bench.tile]]
title = "Newest"
chart = "number"
sql = "select cast(extract(epoch from max(event_time)) * 1000 as bigint) as newest, count(*) as clicks from clicks"

[[dashboard.bench.tile]]
title = "Clicks by hour and product"
chart = "bar"
sql = "select date_trunc('hour', event_time) as hour, product_name, count(*) as clicks from clicks group by 1, 2"

[[dashboard.bench.tile]]
title = "Latest clicks"
chart = "latest"
sql = "select event_time, action, product_name, price, browser from clicks order by event_time desc limit 20"
"""


def drawn(seen: list, first_ms: float, last_ms: float) -> list:
    """For every millisecond of the watched time, when a click of that moment was on the screen.

    `seen` is [[event time of the newest click, painted at], …]: a click is drawn with the first frame whose newest is not older.
    """
    newest = [event for event, _ in seen]
    taken = []
    for moment in range(int(first_ms), int(last_ms)):
        at = bisect.bisect_left(newest, moment)
        if at < len(seen):
            taken.append(seen[at][1] - moment)
    return taken


def measure(run) -> dict:
    folder = run.make("latency")
    site = run.make("latency/site")
    with open(os.path.join(site, "index.html"), "w", encoding="utf-8") as file:
        file.write("<!doctype html><title>bench</title>")
    with open(os.path.join(site, "action"), "w", encoding="utf-8") as file:
        file.write("ok")
    with open(os.path.join(folder, "riverrun.toml"), "w", encoding="utf-8") as file:
        file.write(FILE)
    seconds = 8 if run.quick else 40
    probe = machine.probe(folder)
    with Server(run.binary, folder) as server:
        client = [run.binary, "bench", "latency", "--site", server.edges["site"], "--table", "clicks", "--rate", str(RATE), "--server", server.url]
        alone = json.loads(subprocess.run([*client, "--seconds", str(seconds)], capture_output=True, text=True, check=True).stdout)
        load = subprocess.Popen([*client, "--seconds", str(seconds + LEAD_S)], stdout=subprocess.PIPE, text=True)
        watch = os.path.join(run.root, "tests/browser/watch.mjs")
        seen = json.loads(subprocess.run(["node", watch, server.url, str(seconds)], capture_output=True, text=True, check=True).stdout)
        beside = json.loads(load.communicate()[0])
        memory = server.memory_mb(peak=True)
    # The first frame shows what was there before; the last second may have no frame after it.
    taken = drawn(seen, seen[1][0], seen[-1][0])
    points = {str(part): machine.percentile(taken, part) for part in (0.5, 0.9, 0.99, 1.0)}
    return {"sql": alone, "sql_beside_browser": beside, "drawn_ms": points, "frames": len(seen), "memory_mb": memory, "probe": probe}


def table(found: dict) -> str:
    def row(what: str, points: dict) -> list:
        met = all(points[str(part)] < most for part, most in TARGETS_MS.items())
        return [what, *(f"{points[str(part)]:.0f}" for part in (0.5, 0.9, 0.99, 1.0)), page.verdict(met)]

    def sql(said: dict) -> dict:
        return {"0.5": said["p50_ms"], "0.9": said["p90_ms"], "0.99": said["p99_ms"], "1.0": said["max_ms"]}

    body = [
        row("click → visible in SQL", sql(found["sql"])),
        row("click → visible in SQL, Chromium on the same cores", sql(found["sql_beside_browser"])),
        row("click → drawn in Chromium", found["drawn_ms"]),
    ]
    return (
        page.rows(["ms at 1,000 clicks/s", "p50", "p90", "p99", "max", "target"], body)
        + f"\n\nClicks come from an open loop: a late one counts from when it should have happened. Drawn: for every millisecond of the run,"
        + f" the first painted frame (of {found['frames']}) that shows a click of that time or later, by event time and the page's clock."
        + f" Peak memory of the server {found['memory_mb']:.0f} MB. fdatasync of 4 KiB, p50 / p99 in ms: {found['probe']}."
    )
