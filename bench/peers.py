"""The engines that the ten queries are measured on: each answers SQL over the same Parquet files, rows given back as Python tuples."""

import datetime
import decimal
import json
import os
import urllib.request

import deltalake


def files_of(table_folder: str) -> list:
    """The files of the newest version, as its log names them."""
    return [uri.removeprefix("file://") for uri in deltalake.DeltaTable(table_folder).file_uris()]


class Riverrun:
    name = "riverrun"

    def __init__(self, server):
        self.url = f"{server.url}/api/v1/sql"

    def rows(self, sql: str) -> list:
        body = json.dumps({"sql": sql}).encode()
        request = urllib.request.Request(self.url, body, {"content-type": "application/json", "accept": "application/json"})
        with urllib.request.urlopen(request, timeout=300) as answer:
            return [tuple(row) for row in json.load(answer)["rows"]]


class DuckDB:
    name = "DuckDB"

    def __init__(self, files: list):
        import duckdb

        self.db = duckdb.connect()
        self.db.execute("set timezone = 'UTC'")
        self.db.execute(f"create view events as select * from read_parquet({files!r}, hive_partitioning = true)")

    def rows(self, sql: str) -> list:
        return self.db.execute(sql).fetchall()


class ChDB:
    name = "chDB"

    def __init__(self, files: list):
        from chdb import session

        self.session = session.Session()
        folder = os.path.commonpath(files)
        # Hive partitions come from the path; the glob is the same set of files, for the folder holds nothing else.
        self.session.query("set use_hive_partitioning = 1")
        self.session.query("create database if not exists bench")
        self.session.query(f"create view bench.events as select * from file('{folder}/**/*.parquet', Parquet)")
        self.session.query("use bench")

    def rows(self, sql: str) -> list:
        said = str(self.session.query(sql, "JSONCompact"))
        return [tuple(row) for row in json.loads(said)["data"]]


class Polars:
    name = "Polars"

    def __init__(self, files: list):
        import polars

        self.context = polars.SQLContext(events=polars.scan_parquet(files, hive_partitioning=True))

    def rows(self, sql: str) -> list:
        return self.context.execute(sql).collect().rows()


def comparable(rows: list) -> list:
    """Rows of any engine in one shape: numbers rounded, moments as text, sorted."""

    def cell(value):
        if isinstance(value, datetime.datetime):
            return value.strftime("%Y-%m-%d %H:%M:%S")
        if isinstance(value, (float, decimal.Decimal)):
            return f"{float(value):.4g}"
        if isinstance(value, bool) or value is None:
            return str(value)
        if isinstance(value, str):
            try:
                return f"{float(value):.4g}"
            except ValueError:
                return value.replace("T", " ").removesuffix("Z").split(".")[0].removesuffix("+00:00")
        return f"{float(value):.4g}" if isinstance(value, int) else str(value)

    return sorted(tuple(cell(value) for value in row) for row in rows)
