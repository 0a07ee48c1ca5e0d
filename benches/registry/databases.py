"""The databases of the servers: their rows, and the plans by which they run statements."""

import collections
import contextlib
import json
import os
import re
import sqlite3
import subprocess
import typing


# Bytes of PostgreSQL's.
PAGE = 8192


def distinct(names):
    return list(dict.fromkeys(names))


class Plan(typing.NamedTuple):
    """The indexes that a statement uses, and the tables that it reads from their beginning to their end."""

    indexes: list
    whole_tables: list


class Sqlite:
    """The file of a server that has stopped."""

    def __init__(self, path):
        self.path = path
        self.sql = sqlite3.connect(path)
        self.sql.row_factory = sqlite3.Row
        # Without a log, and without waiting for the disk: inserting the rows can begin again. The server turns to its own settings.
        for setting in ["journal_mode = OFF", "synchronous = OFF", "cache_size = -500000"]:
            self.sql.execute(f"PRAGMA {setting}").fetchall()

    def row(self, table, **which):
        """The only row with this value in this column."""
        (column, value), = which.items()
        row, = self.sql.execute(f"SELECT * FROM {table} WHERE {column} = ?", [value])
        return dict(row)

    def insert(self, table, columns, rows):
        with self.sql:
            self.sql.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})", rows)

    def finish(self):
        self.sql.close()
        # The first write of the server must not wait for these.
        with open(self.path) as file:
            os.fsync(file.fileno())

    def mib(self):
        return os.stat(self.path).st_size / 2**20

    def plan(self, query):
        """How it runs a statement."""
        with contextlib.closing(sqlite3.connect(self.path)) as sql:
            steps = [step for *_, step in sql.execute(f"EXPLAIN QUERY PLAN {query}", collections.defaultdict(lambda: None))]
        indexes = re.findall(r"USING (?:COVERING )?INDEX (\w+)", "\n".join(steps))
        # Not a table, but one row of the statement itself.
        own = {"CONSTANT", *re.findall(r"WITH (\w+) AS", query)}
        scanned = [step.split()[1] for step in steps if step.startswith("SCAN")]
        return Plan(distinct(indexes), distinct(name for name in scanned if name not in own))


class Postgres:
    """A database of its own in a cluster."""

    def __init__(self, cluster, name):
        cluster.sql(f"CREATE DATABASE {name}")
        self.name, self.url = name, cluster.url.rsplit("/", 1)[0] + f"/{name}"

    def ask(self, *statements):
        commands = [word for statement in statements for word in ["-c", statement]]
        return subprocess.run(["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", self.url, *commands], check=True, capture_output=True, text=True).stdout

    def row(self, table, **which):
        """The only row with this value in this column."""
        (column, value), = which.items()
        row, = self.ask(f"SELECT row_to_json(t) FROM {table} t WHERE {column} = '{value}'").splitlines()
        return json.loads(row)

    def insert(self, table, columns, rows):
        copy = ["psql", "-qX", "-v", "ON_ERROR_STOP=1", self.url, "-c", f"COPY {table} ({', '.join(columns)}) FROM STDIN"]
        with subprocess.Popen(copy, stdin=subprocess.PIPE, text=True) as process:
            process.stdin.writelines("\t".join("\\N" if value is None else str(value) for value in row) + "\n" for row in rows)
        assert process.returncode == 0, table

    def finish(self):
        """What PostgreSQL would do by itself before long."""
        self.ask("VACUUM (ANALYZE)", "CHECKPOINT")

    def mib(self):
        return int(self.ask(f"SELECT pg_database_size('{self.name}')")) / 2**20

    def plan(self, query):
        """How it runs a statement, whatever its parameters are."""
        count = len(set(re.findall(r"\$\d+", query)))
        parameters = f"({', '.join(['NULL'] * count)})" if count else ""
        explain = [f"PREPARE measured AS {query}", f"EXPLAIN (COSTS OFF) EXECUTE measured {parameters}"]
        text = self.ask("SET plan_cache_mode = force_generic_plan", *explain)
        # A table of one page has nothing to gain from an index.
        scanned = [name for name in re.findall(r"Seq Scan on (\w+)", text) if int(self.ask(f"SELECT pg_relation_size('{name}')")) > PAGE]
        return Plan(distinct(re.findall(r"using (\w+) on", text)), distinct(scanned))
