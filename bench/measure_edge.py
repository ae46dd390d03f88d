"""The request log through the edge: wrk on a static page with logging at 100 %, beside nginx with access_log, by turns."""

import os
import re
import signal
import statistics
import subprocess
import time
import urllib.request

import machine
import page
from server import Server

ROUNDS = 3
CONNECTIONS = 64
TARGET = 0.7
PLAIN, TUNED = 18080, 18081
PAGE = "<!doctype html><title>a page</title><p>" + "A page of two kilobytes. " * 80
FIELDS = "timestamp c-ip sc-status sc-bytes cs-method cs-host cs-uri-stem time-taken cs-protocol-version cs-user-agent cs-referer cs-uri-query"

FILE = """data = "data"

[console]
listen = "127.0.0.1:0"

[edge.site]
listen = "127.0.0.1:0"
root = "site"

[edge.site.log]
stream = "requests"
sampling_rate = 100
fields = [{fields}]

[stream.requests]

[table.requests]
from = "requests"
flush = {{ every = "10s", size = "64MiB" }}
sql = "select event_time, c_ip, sc_status, cs_uri_stem, cs_user_agent from record"
"""

NGINX = """worker_processes auto;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  log_format fields '$msec\\t$remote_addr\\t$status\\t$bytes_sent\\t$request_method\\t$host\\t$request_uri\\t$request_time\\t$server_protocol\\t$http_user_agent\\t$http_referer\\t$args';
  access_log {folder}/access.log fields{buffer};
  {cache}
  types {{ text/html html; }}
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; root {site}; }}
}}
"""


def wrk(url: str, seconds: int) -> dict:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", f"{url}/page.html"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    if bad:
        raise RuntimeError(f"{url} answered {bad.group(1)} times with an error")
    return {
        "per_s": float(re.search(r"Requests/sec:\s+([\d.]+)", said).group(1)),
        "requests": int(re.search(r"(\d+) requests in", said).group(1)),
        "p99": re.search(r"99%\s+(\S+)", said).group(1),
    }


def start_nginx(folder: str, site: str, port: int, tuned: bool) -> subprocess.Popen:
    """As it comes, or with what its manual offers for speed: a buffered log and a cache of open files."""
    config = os.path.join(folder, "nginx.conf")
    buffer = " buffer=64k flush=1s" if tuned else ""
    cache = "open_file_cache max=100;" if tuned else ""
    with open(config, "w", encoding="utf-8") as file:
        file.write(NGINX.format(folder=folder, site=site, port=port, buffer=buffer, cache=cache))
    user = "user root; " if os.getuid() == 0 else ""
    return subprocess.Popen(["/usr/sbin/nginx", "-c", config, "-g", f"daemon off; {user}"])


def measure(run) -> dict:
    folder = run.make("edge")
    site = run.make("edge/site")
    with open(os.path.join(site, "page.html"), "w", encoding="utf-8") as file:
        file.write(PAGE)
    with open(os.path.join(folder, "riverrun.toml"), "w", encoding="utf-8") as file:
        file.write(FILE.format(fields=", ".join(f'"{name}"' for name in FIELDS.split())))
    seconds = 3 if run.quick else 12
    ours, theirs, tuned, probes = [], [], [], []
    nginxes = [start_nginx(run.make(f"edge/nginx-{port}"), site, port, port == TUNED) for port in (PLAIN, TUNED)]
    try:
        with Server(run.binary, folder) as server:
            time.sleep(1)
            edge, plain, other = server.edges["site"], f"http://127.0.0.1:{PLAIN}", f"http://127.0.0.1:{TUNED}"
            warm_up = [wrk(url, 2)["requests"] for url in (edge, plain, other)]
            for _ in range(ROUNDS):
                probes.append(machine.probe(folder))
                ours.append(wrk(edge, seconds))
                theirs.append(wrk(plain, seconds))
                tuned.append(wrk(other, seconds))
            dropped = total(metrics(server), "dropped")
            memory = server.memory_mb(peak=True)
            deadline = time.time() + 120
            answered = warm_up[0] + sum(round_["requests"] for round_ in ours)
            while server.number("select count(*) from requests") + dropped < answered and time.time() < deadline:
                time.sleep(1)
            rows = server.number("select count(*) from requests")
    finally:
        for nginx in nginxes:
            nginx.send_signal(signal.SIGQUIT)
            nginx.wait(timeout=30)
    return {"ours": ours, "nginx": theirs, "tuned": tuned, "answered": answered, "probes": probes, "rows": rows, "dropped": dropped, "memory_mb": memory}


def metrics(server) -> list:
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=30) as answer:
        return answer.read().decode().splitlines()


def total(lines: list, word: str) -> int:
    """The sum of the edge's log counters whose name or labels hold `word`."""
    chosen = [line for line in lines if line.startswith("riverrun_edge") and word in line and "_log" in line]
    return int(sum(float(line.rsplit(" ", 1)[1]) for line in chosen))


def table(found: dict) -> str:
    ours = statistics.median(round_["per_s"] for round_ in found["ours"])
    theirs = statistics.median(round_["per_s"] for round_ in found["nginx"])
    body = [
        [
            who,
            f"{statistics.median(r['per_s'] for r in rounds):,.0f}",
            " ".join(f"{r['per_s']:,.0f}" for r in rounds),
            " ".join(r["p99"] for r in rounds),
        ]
        for who, rounds in (("riverrun, request log on", found["ours"]), ("nginx, access_log on", found["nginx"]), ("nginx, buffered log, cached files", found["tuned"]))
    ]
    ratio = ours / theirs
    beside_tuned = ours / statistics.median(round_["per_s"] for round_ in found["tuned"])
    return (
        page.rows(["server", "requests/s, median", "each round", "p99 of each round"], body)
        + f"\n\n{ratio:.2f} × nginx; the target of {TARGET} is {page.verdict(ratio >= TARGET)}. {beside_tuned:.2f} × the tuned one. {CONNECTIONS} connections, wrk on the same"
        + f" cores. Of {found['answered']:,} requests that wrk counted (it leaves out those under way when it stops) {found['rows']:,} became rows, {found['dropped']:,} log lines were dropped (and counted)."
        + f" Peak memory {found['memory_mb']:.0f} MB. fdatasync of 4 KiB before each round, p50 / p99 in ms: {'; '.join(found['probes'])}."
    )
