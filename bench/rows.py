"""The lake of ten million rows that several measurements share; made once and kept beside the build."""

import os
import shutil
import subprocess

ROWS = 10_000_000
QUICK_ROWS = 200_000


def lake(run) -> tuple:
    """The folder that serves it, and how many rows it has."""
    rows = QUICK_ROWS if run.quick else ROWS
    folder = os.path.join(os.path.dirname(run.folder), f"lake-{rows}")
    whole = os.path.join(folder, ".whole")
    if not os.path.exists(whole):
        shutil.rmtree(folder, ignore_errors=True)
        print(f"   making {rows:,} rows in {folder} (once)", flush=True)
        subprocess.run([run.binary, "bench", "generate", "--data", folder, "--rows", str(rows)], check=True, stdout=subprocess.DEVNULL)
        open(whole, "w", encoding="utf-8").close()
    return folder, rows
