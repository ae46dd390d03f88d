"""The lake of ten million rows that several measurements share; made once and kept beside the build.

It is made anew when what makes it has changed: the generator, or how the lake writes its files."""

import hashlib
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
    wanted = makers(run.root)
    if not (os.path.exists(whole) and read(whole) == wanted):
        shutil.rmtree(folder, ignore_errors=True)
        print(f"   making {rows:,} rows in {folder} (once)", flush=True)
        subprocess.run([run.binary, "bench", "generate", "--data", folder, "--rows", str(rows)], check=True, stdout=subprocess.DEVNULL)
        with open(whole, "w", encoding="utf-8") as file:
            file.write(wanted)
    return folder, rows


def makers(root: str) -> str:
    """The sources that decide what the rows and their files are, as one number."""
    digest = hashlib.sha256()
    for folder in ("crates/app/src/bench", "crates/lake/src"):
        for path, _, names in sorted(os.walk(os.path.join(root, folder))):
            for name in sorted(names):
                digest.update(read(os.path.join(path, name)).encode())
    return digest.hexdigest()


def read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()
