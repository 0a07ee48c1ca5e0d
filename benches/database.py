"""A PostgreSQL, and what it has done."""

import json
import time

import processes
from world import Postgres

# needs: initdb=postgresql psql=postgresql-client


class Database:
    """A PostgreSQL whose commits wait for the disk, and what it has done."""

    def __init__(self, stack):
        self.postgres = Postgres(durable=True, shared_preload_libraries="pg_stat_statements")
        stack.callback(self.postgres.remove)
        self.postgres.sql("CREATE EXTENSION pg_stat_statements")

    def counts(self):
        """Statements, and bytes of WAL, since its start."""
        query = "SELECT sum(calls), pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') FROM pg_stat_statements"
        return map(float, self.postgres.sql(query).split("|"))

    def measure(self, work):
        """What `work` returns, and what the database did meanwhile: seconds, seconds of CPU time, statements, and bytes of WAL."""
        statements, wal = self.counts()
        # The session that counts ends, and is not measured.
        time.sleep(0.2)
        begun, cpu = time.perf_counter(), processes.cpu_seconds(self.postgres.leader())
        result = work()
        seconds, cpu = time.perf_counter() - begun, processes.cpu_seconds(self.postgres.leader()) - cpu
        statements_after, wal_after = self.counts()
        return result, {"seconds": seconds, "cpu": cpu, "statements": statements_after - statements, "wal": wal_after - wal}

    def statements(self, name):
        """How often each statement was run in the database of this name, most often first."""
        rows = self.postgres.sql(
            "SELECT json_build_array(calls, query) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid"
            f" WHERE d.datname = '{name}' ORDER BY calls DESC")
        return [json.loads(row) for row in rows.splitlines()]
