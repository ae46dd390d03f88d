"""make bench: measures, prints the tables, and writes them into docs/performance.md.

run.py [NAME …] [--quick]: all measurements, or those named (latency, ingest, edge, import, queries, start, stream). --quick is a rehearsal
with short runs and few rows; it prints and writes nothing.
"""

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass

import machine
import page

NAMES = ["latency", "ingest", "edge", "import", "queries", "start", "stream"]
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@dataclass
class Run:
    """What a measurement gets: where the binary is, where it may write, and whether this is a rehearsal."""

    root: str
    binary: str
    folder: str
    quick: bool

    def make(self, name: str) -> str:
        path = os.path.join(self.folder, name)
        os.makedirs(path, exist_ok=True)
        return path

    def shared_input(self, name: str):
        """Real input kept outside the repository, if this machine has it."""
        folder = os.environ.get("RIVERRUN_SHARED", os.path.join(self.root, "../shared"))
        path = os.path.join(folder, name)
        return path if os.path.exists(path) else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(NAMES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")

    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    binary = os.environ.get("RIVERRUN_BINARY", os.path.join(target, "release/riverrun"))
    if not os.path.exists(binary):
        sys.exit(f"{binary} is missing: run make build")
    scratch = os.environ.get("RIVERRUN_BENCH_DIR", os.path.join(target, "bench"))
    os.makedirs(scratch, exist_ok=True)
    # What was measured: the commit it was just built from, or for a binary named by hand only when it was built.
    built = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(os.path.getmtime(binary)))
    revision = f"a binary of {built}" if "RIVERRUN_BINARY" in os.environ else machine.revision(ROOT)
    about = f"Measured on {machine.describe()}, at {revision}."
    print(about)

    failed = []
    for name in asked.names or NAMES:
        print(f"== {name}", flush=True)
        module = importlib.import_module(f"measure_{name}")
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            run = Run(ROOT, binary, folder, asked.quick)
            before = machine.load()
            started = time.time()
            try:
                found = module.measure(run)
            except Exception as failure:  # the other measurements still count
                print(f"!! {name} failed: {failure!r}")
                failed.append(name)
                continue
        found |= {"machine": machine.describe(), "revision": revision, "load_before": round(before, 2)}
        found["seconds"] = round(time.time() - started)
        table = f"{module.table(found)}\n\n{about} Load before the run {found['load_before']}."
        print(table, flush=True)
        if not asked.quick:
            os.makedirs(os.path.join(ROOT, "bench/results"), exist_ok=True)
            with open(os.path.join(ROOT, f"bench/results/{name}.json"), "w", encoding="utf-8") as file:
                json.dump(found, file, indent=1, sort_keys=True)
                file.write("\n")
            page.write(ROOT, name, table)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
