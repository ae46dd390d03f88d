"""A running `riverrun serve`, found through its ready line."""

import json
import os
import signal
import subprocess
import threading
import time
import urllib.request


class Server:
    """Starts in `folder`, which holds riverrun.toml. `ready_s` is the time from start to open doors."""

    def __init__(self, binary: str, folder: str, arguments: tuple = ("serve", "riverrun.toml")):
        self.log = open(os.path.join(folder, "riverrun.log"), "ab")
        start = time.perf_counter()
        self.process = subprocess.Popen(
            [binary, *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log, text=True
        )
        for line in self.process.stdout:
            if line.startswith('{"ready"'):
                self.ready_s = time.perf_counter() - start
                ready = json.loads(line)["ready"]
                break
        else:
            raise RuntimeError(f"the server ended before it was ready: see {self.log.name}")
        self.url = f"http://{ready['console']}"
        self.edges = {name: f"http://{address}" for name, address in ready.get("edge", {}).items()}
        self.kinesis = ready.get("kinesis")
        # Reads on, so that the server never blocks on a full pipe.
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def sql(self, sql: str) -> list:
        """The rows of a query."""
        request = urllib.request.Request(
            f"{self.url}/api/v1/sql",
            json.dumps({"sql": sql}).encode(),
            {"content-type": "application/json", "accept": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)["rows"]

    def number(self, sql: str) -> int:
        """The one number of a query."""
        return int(self.sql(sql)[0][0])

    def memory_mb(self, peak: bool = False) -> float:
        """Resident memory in MB, now or at its highest."""
        name = "VmHWM" if peak else "VmRSS"
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as file:
            return int(next(line for line in file if line.startswith(name)).split()[1]) * 1024 / 1e6

    def cpu_s(self) -> float:
        """Processor seconds used so far."""
        with open(f"/proc/{self.process.pid}/stat", encoding="utf-8") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> float:
        """Ctrl-C; the seconds that the clean end took."""
        start = time.perf_counter()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=120)
        self.log.close()
        return time.perf_counter() - start

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        if self.process.poll() is None:
            self.stop() if failure[0] is None else self.process.kill()
