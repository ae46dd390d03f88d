"""read_lake.py TABLE_FOLDER COLUMN: reads a Delta table as it lies, once with the deltalake package and once with DuckDB
over the files that its log names, and prints rows and the sum of COLUMN by year/month/day/hour for each."""

import json
import sys

import deltalake
import duckdb

folder, column = sys.argv[1], sys.argv[2]
table = deltalake.DeltaTable(folder)
GROUPS = "select year, month, day, hour, count(*), sum({column}) from {source} group by all"


def groups(db: duckdb.DuckDBPyConnection, source: str) -> dict:
    rows = db.execute(GROUPS.format(column=column, source=source)).fetchall()
    # DuckDB takes a folder like hour=07 for text, for its leading zero.
    return {f"{y}/{int(m)}/{int(d)}/{int(h)}": [count, int(total)] for y, m, d, h, count, total in rows}


db = duckdb.connect()
files = table.file_uris()
if not files:
    print(json.dumps({"version": table.version(), "rows": 0, "distinct": 0, "deltalake": {}, "duckdb": {}}))
    sys.exit()
by_deltalake = table.to_pyarrow_table()  # found by DuckDB under its name, so that both are grouped alike
listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
by_duckdb = f"read_parquet([{listed}], hive_partitioning = true)"
rows, distinct = db.execute(f"select count(*), count(distinct {column}) from {by_duckdb}").fetchone()
print(
    json.dumps(
        {
            "version": table.version(),
            "rows": rows,
            "distinct": distinct,
            "deltalake": groups(db, "by_deltalake"),
            "duckdb": groups(db, by_duckdb),
        }
    )
)
