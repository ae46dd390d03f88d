"""count_combined.py FILE REJECTED_JSON: counts the lines of a combined log by status, hour (UTC), path and agent with DuckDB,
leaving out the lines listed in REJECTED_JSON (each must be a line of the file)."""

import gzip
import json
import sys
from collections import Counter

import duckdb

path, rejected_path = sys.argv[1], sys.argv[2]
with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
    lines = [line.rstrip(b"\r\n").decode("utf-8", "replace") for line in file]
lines = [line for line in lines if line]
with open(rejected_path, encoding="utf-8") as file:
    rejected = Counter(json.load(file))
unknown = rejected - Counter(lines)
if unknown:
    sys.exit(f"rejected, but not in the file: {list(unknown)[:3]}")

kept = Counter(lines) - rejected
db = duckdb.connect()
db.execute("create table line (text varchar)")
db.executemany("insert into line values (?)", [[text] for text in kept.elements()])
db.execute("set timezone = 'UTC'")
# The last quote may be missing: one real line ends that way.
LINE = (
    r'^(\S+) (\S+) (\S+) \[([^\]]+)\] "([^ "]*) ([^ "]*)(?: ([^"]*))?" (\d{3}|-) (\d+|-)'
    r'(?: "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)"?)?\s*$'
)
NAMES = "['ip', 'ident', 'user', 'time', 'method', 'target', 'protocol', 'status', 'bytes', 'referer', 'agent']"
db.execute(
    f"""
    create table request as
    select text, part.status as status, split_part(regexp_replace(part.target, '^https?://[^/?]*', ''), '?', 1) as path,
           case when part.agent = '' then '-' else replace(part.agent, '\\"', '"') end as agent,
           strftime(strptime(part.time, '%d/%b/%Y:%H:%M:%S %z'), '%Y-%m-%d %H') as hour
    from (select text, regexp_extract(text, $line, {NAMES}) as part from line)
    """,
    {"line": LINE},
)
unread = db.execute("select text from request where status = ''").fetchall()
if unread:
    sys.exit(f"accepted by riverrun, but no combined line: {unread[:3]}")


def by(column: str) -> dict:
    return dict(db.execute(f"select {column}, count(*) from request group by 1").fetchall())


print(json.dumps({"lines": len(lines)} | {name: by(name) for name in ("status", "hour", "path", "agent")}))
