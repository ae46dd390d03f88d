"""The engines that the ten queries are measured on: each answers SQL over the same Parquet files with an Arrow table."""

import datetime
import decimal
import json
import os
import urllib.request

import deltalake
import pyarrow


def files_of(table_folder: str) -> list:
    """The files of the newest version, as its log names them."""
    return [uri.removeprefix("file://") for uri in deltalake.DeltaTable(table_folder).file_uris()]


class Riverrun:
    name = "riverrun"

    def __init__(self, server):
        self.url = f"{server.url}/api/v1/sql"

    def table(self, sql: str) -> pyarrow.Table:
        body = json.dumps({"sql": sql}).encode()
        accept = "application/vnd.apache.arrow.stream"
        request = urllib.request.Request(self.url, body, {"content-type": "application/json", "accept": accept})
        with urllib.request.urlopen(request, timeout=300) as answer:
            return pyarrow.ipc.open_stream(answer.read()).read_all()


class DuckDB:
    name = "DuckDB"

    def __init__(self, files: list):
        import duckdb

        self.db = duckdb.connect()
        self.db.execute("set timezone = 'UTC'")
        self.db.execute(f"create view events as select * from read_parquet({files!r}, hive_partitioning = true)")

    def table(self, sql: str) -> pyarrow.Table:
        return self.db.sql(sql).to_arrow_table()


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

    def table(self, sql: str) -> pyarrow.Table:
        return pyarrow.ipc.open_stream(self.session.query(sql, "ArrowStream").bytes()).read_all()


class Polars:
    name = "Polars"

    def __init__(self, files: list):
        import polars

        self.context = polars.SQLContext(events=polars.scan_parquet(files, hive_partitioning=True))

    def table(self, sql: str) -> pyarrow.Table:
        return self.context.execute(sql).collect().to_arrow()


def comparable(table: pyarrow.Table) -> list:
    """Rows of any engine in one shape: numbers to four digits, moments as text, sorted."""

    def cell(value):
        if isinstance(value, datetime.datetime):
            return value.strftime("%Y-%m-%d %H:%M:%S")
        if isinstance(value, bytes):
            return value.decode()
        if isinstance(value, (int, float, decimal.Decimal)) and not isinstance(value, bool):
            return f"{float(value):.4g}"
        return str(value)

    return sorted(tuple(cell(value) for value in row) for row in zip(*(column.to_pylist() for column in table.columns)))
