"""The servers that streams are measured on, each started in a folder of its own, and the program that loads them (bench/load)."""

import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import time

from server import Server

SIZE = 1024
RATE = 1000
SHARDS = 4
KEY = ("AKIDRIVERRUNBENCH", "riverrun-bench-secret")

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


def nats(run, synced: bool = False) -> Peer:
    """JetStream as it comes, which syncs every two minutes, or told to sync before each answer."""
    name = "nats-synced" if synced else "nats"
    folder = run.make(name)
    settings = os.path.join(folder, "nats.conf")
    with open(settings, "w", encoding="utf-8") as file:
        file.write(f'jetstream {{ store_dir: "{folder}/store"{", sync_interval: always" if synced else ""} }}\n')
    program = os.path.join(run.root, ".cache/nats/usr/sbin/nats-server")
    return Peer(name, folder, [program, "--addr", "127.0.0.1", "--port", "PORT", "--config", settings])


def kinesalite(run) -> Peer:
    program = os.path.join(run.root, "bench/kinesalite/node_modules/.bin/kinesalite")
    return Peer("kinesalite", run.make("kinesalite"), ["node", program, "--port", "PORT", "--path", "FOLDER/store", "--createStreamMs", "20", "--deleteStreamMs", "20"])


@functools.cache
def on_time() -> list:
    """Before the command of a program that stands for clients on other machines: it runs when its time has come, whatever the servers do
    with the cores. Nothing where this is not allowed."""
    command = ["chrt", "--fifo", "1"]
    with contextlib.suppress(OSError):
        if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            return command
    return []


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
        before = on_time() if mode == "latency" else []
        command = [*before, self.program, target, mode, *(f"--{name}={value}" for name, value in arguments.items())]
        environment = os.environ | {"AWS_ACCESS_KEY_ID": KEY[0], "AWS_SECRET_ACCESS_KEY": KEY[1]}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{target} {mode}: {done.stderr.strip()[-800:]}")
        return json.loads(done.stdout) | {"on_time": bool(before)}


def door(run, name: str) -> Server:
    folder = run.make(name)
    with open(os.path.join(folder, "riverrun.toml"), "w", encoding="utf-8") as file:
        file.write(FILE)
    return Server(run.binary, folder)
