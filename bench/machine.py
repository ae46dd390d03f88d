"""What every figure stands beside: the machine, its load, and what its disk did at that moment."""

import math
import os
import platform
import subprocess
import time


def probe(folder: str) -> str:
    """Milliseconds of 150 times (append 4 KiB, fdatasync), as "median / 99th percentile"."""
    path = os.path.join(folder, f"probe-{os.getpid()}")
    block, taken = os.urandom(4096), []
    file = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        for _ in range(150):
            os.write(file, block)
            start = time.perf_counter()
            os.fdatasync(file)
            taken.append((time.perf_counter() - start) * 1e3)
    finally:
        os.close(file)
        os.unlink(path)
    taken.sort()
    return f"{taken[75]:.2f} / {taken[148]:.2f}"


def describe() -> str:
    """One line: processor, cores, memory, system, day."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), platform.machine())
    with open("/proc/meminfo", encoding="utf-8") as file:
        memory = round(int(next(line for line in file if line.startswith("MemTotal")).split()[1]) / 2**20)
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return f"{os.cpu_count()} cores ({model}), {memory} GiB, Linux {platform.release().split('-')[0]}, {day}"


def load() -> float:
    """The load average of the last minute: beside two cores, more than 1 before a run says that others were at work."""
    return os.getloadavg()[0]


def revision(root: str) -> str:
    """The commit that was measured."""
    out = subprocess.run(["git", "-C", root, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return out.stdout.strip() or "unknown"


def percentile(values: list, part: float) -> float:
    """The smallest value that at least so large a part of the values are not above."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]
