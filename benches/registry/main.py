"""What a token costs with many clients and logins in the database: see `run`, which prepares it."""

import argparse
import contextlib
import os
import pathlib
import re
import statistics
import sys
import textwrap
import time

import databases
import driver
import rows
from aims import Aims
from database import Database
from loaded_server import LoadedServer, form
from machine import measured_on
from rounds import order_of_round

SQLITE, POSTGRES = "SQLite", "PostgreSQL"
CONNECTIONS, STARTS = 32, 5
# The clients whose tokens cost no look at the database.
FEW = 10
# The rows. Beside some, commands change another client ten times a second, or read it as often.
HOT, ALL, REFRESH = "10 clients", "all clients", "refresh token"
CHANGED, READ, EVERY = "10 clients, beside changes", "10 clients, beside reads", 0.1
ROWS = [HOT, CHANGED, READ, ALL, REFRESH]
# Once in so many seconds, the server writes when each client was last used.
HOUSEKEEPING = 10
FLAT, STILL, ONE_STATEMENT = 1.15, 1.05, 1.05
# Of the statements of a token, those are shown that are run at least as often.
OFTEN = 0.02


class Server(LoadedServer):
    """A server whose database has so many clients, and a login of each."""

    # A signature by RSA costs more than everything that could grow.
    algorithms = ["ES256"]
    signing_in = []

    def __init__(self, stack, program, kind, count, cluster):
        self.kind, self.count = kind, count
        # No sign-in ends an older login.
        settings = {"SEALWRIGHT_LOGINS_PER_USER": "10000"}
        if kind == POSTGRES:
            self.database = databases.Postgres(cluster, f"clients_{count}")
            settings["SEALWRIGHT_DATABASE_URL"] = self.database.url
        super().__init__(stack, f"{kind}, {count:,}", program, settings)
        self.furnish()
        self.sign_in()
        self.stop()
        if kind == SQLITE:
            self.database = databases.Sqlite(f"{self.folder}/sealwright.db")
        begun = time.perf_counter()
        rows.insert(self.database, count)
        # Callers of the few must cost the same, however many others there are.
        self.all, self.few = pathlib.Path(self.folder, "all"), pathlib.Path(self.folder, "few")
        rows.write_authorizations(self.all, range(count))
        rows.write_authorizations(self.few, range(0, count, count // FEW))
        print(f"{self.name}: inserted in {time.perf_counter() - begun:.0f} s", file=sys.stderr)
        # One start alone says little: on a shared machine, some take five times as long as others.
        self.starts = []
        for _ in range(STARTS):
            self.restart()
            self.starts.append(self.until_first_token)

    def script(self, row):
        if row == REFRESH:
            return self.refreshing()
        return driver.at_random(self.folder, "/oauth/token", form(grant_type="client_credentials"), self.all if row == ALL else self.few)

    def beside(self, row):
        """The commands that run meanwhile: of a client that gets no token."""
        other = rows.client_id(self.count - 1)
        # Both are as many processes beside the server.
        commands = {
            CHANGED: lambda number: ["client", "update", other, "--token-lifetime", f"{60 + number % 2}s"],
            READ: lambda _: ["client", "show", other],
        }
        return self.issuer.repeating(commands[row], EVERY) if row in commands else contextlib.nullcontext([])

    def measure(self, row, seconds):
        """What `driver.measure` returns, how often it read a client per answer, and how many commands ran in a second."""
        script, reads = self.script(row), self.issuer.metric("client_reads_total")
        seconds = max(seconds, HOUSEKEEPING) if row == ALL else seconds
        begun = time.perf_counter()
        with self.beside(row) as runs:
            figure = driver.measure(self, script, seconds, CONNECTIONS)
            commands = len(runs) / (time.perf_counter() - begun)
        return figure | {"reads": (self.issuer.metric("client_reads_total") - reads) / figure["answers"], "commands": commands}


class Run:
    """The figures of one run: those of each row of each server by round."""

    def __init__(self, servers, database, seconds, rounds):
        self.servers, self.database = {(server.kind, server.count): server for server in servers}, database
        self.counts = sorted({server.count for server in servers})
        self.kinds = list(dict.fromkeys(server.kind for server in servers))
        places = [(kind, row, count) for kind in self.kinds for row in ROWS for count in self.counts_of(row)]
        # Connections, caches and code pages become warm.
        for place in places:
            self.measure(place, 2)
        self.figures = {place: [] for place in places}
        for number in range(rounds):
            # What the tokens of all clients leave to be written must not be written while another row is measured.
            time.sleep(HOUSEKEEPING)
            for last in [False, True]:
                for place in order_of_round([place for place in places if (place[1] == ALL) == last], number):
                    self.figures[place].append(self.measure(place, seconds))

    def counts_of(self, row):
        """With how many clients a row is measured."""
        if row in [CHANGED, READ]:
            return self.counts[-1:]
        # All of the fewest are the same ones as in the first row.
        return self.counts[1:] if row == ALL else self.counts

    def measure(self, place, seconds):
        kind, row, count = place
        server = self.servers[kind, count]
        figure, done = self.database.measure(lambda: server.measure(row, seconds))
        if kind == POSTGRES:
            figure |= {"database": done["cpu"] * 1e6 / figure["answers"], "statements": done["statements"] / figure["answers"]}
        return figure

    def median(self, place, key):
        return statistics.median(figure[key] for figure in self.figures[place])

    def ratio(self, place, other):
        """Of the CPU time in the same round."""
        return statistics.median(one["cpu"] / two["cpu"] for one, two in zip(self.figures[place], self.figures[other]))

    def print_tables(self):
        print("| | clients | tokens a second | 50 % | 99 % | CPU time per token | of PostgreSQL | clients read per token | statements per token |")
        print("|---" * 9 + "|")
        for place, figures in self.figures.items():
            kind, row, count = place
            times = " | ".join(f"{self.median(place, key):.1f} ms" for key in ["p50", "p99"])
            cells = f"{self.median(place, 'rate'):,.0f} | {times} | {self.median(place, 'cpu'):,.0f} µs"
            inside = [f"{self.median(place, 'database'):,.0f} µs", f"{self.median(place, 'statements'):.2f}"] if kind == POSTGRES else ["", ""]
            print(f"| {kind}: {row} | {count:,} | {cells} | {inside[0]} | {self.median(place, 'reads'):.2f} | {inside[1]} |")
        print("\n| | clients | database | from the start to the first token | memory, idle | memory, at most |\n|---|---|---|---|---|---|")
        for (kind, count), server in self.servers.items():
            first, most = statistics.median(server.starts) * 1e3, server.resident_mib("VmHWM")
            print(f"| {kind} | {count:,} | {server.database.mib():,.0f} MiB | {first:.0f} ms | {server.idle_mib:.1f} MiB | {most:.1f} MiB |")
        print()
        for kind in self.kinds:
            changes, reads = (self.median((kind, row, self.counts[-1]), "commands") for row in [CHANGED, READ])
            print(f"{kind}: {changes:.1f} changes a second, or {reads:.1f} reads")

    def print_statements(self):
        """The statements of a token of one of all clients, and by which indexes both databases run them. Returns how many of them only read,
        and the tables that are read from their beginning to their end."""
        count, reads, whole_tables = self.counts[-1], 0, []
        indexes = " | ".join(f"indexes, {kind}" for kind in self.kinds)
        print(f"\n| statement, for one of {count:,} clients | per token | {indexes} |\n|---|---|---|---|")
        self.database.postgres.sql("SELECT pg_stat_statements_reset()")
        answers = self.servers[POSTGRES, count].measure(ALL, HOUSEKEEPING)["answers"]
        for calls, query in self.database.statements(self.servers[POSTGRES, count].database.name):
            reads += calls / answers if re.match("SELECT|WITH", query) else 0
            if calls / answers < OFTEN:
                continue
            # Others read no table.
            planned = self.kinds if re.match("SELECT|WITH|UPDATE", query) else []
            plans = [self.servers[kind, count].database.plan(query) for kind in planned]
            whole_tables += [table for plan in plans for table in plan.whole_tables]
            indexes = " | ".join(", ".join(f"`{index}`" for index in plan.indexes) for plan in plans) or " | "
            print(f"| `{textwrap.shorten(query, 60, placeholder=' ...')}` | {calls / answers:.2f} | {indexes} |")
        return reads, whole_tables

    def check_aims(self, reads, whole_tables):
        """How many are missed."""
        aims, fewest, most = Aims(), self.counts[0], self.counts[-1]
        for kind in self.kinds:
            for row in [HOT, REFRESH]:
                for count in self.counts[1:]:
                    ratio = self.ratio((kind, row, count), (kind, row, fewest))
                    aims.check(f"{kind}, {row}: the cost with {count:,} clients relative to {fewest}", ratio, " times the CPU", most=FLAT)
            ratio = self.ratio((kind, CHANGED, most), (kind, READ, most))
            aims.check(f"{kind}: the cost beside changes relative to reads", ratio, " times the CPU", most=STILL)
        # With what PostgreSQL does besides.
        aims.check(f"one of {most:,} clients", reads, " statements that only read", most=ONE_STATEMENT)
        aims.check(" ".join(["tables that a token reads from their beginning to their end", *whole_tables]), len(whole_tables), "", most=0)
        return aims.missed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=os.path.abspath)
    parser.add_argument("--clients", type=int, default=1_000_000, help="in the largest databases; fewer for a trial")
    parser.add_argument("seconds", type=int, nargs="?", default=4)
    parser.add_argument("rounds", type=int, nargs="?", default=5)
    options = parser.parse_intermixed_args()
    with contextlib.ExitStack() as stack:
        database = Database(stack)
        counts = [FEW, 10_000, options.clients]
        servers = [Server(stack, options.program, kind, count, database.postgres) for kind in [SQLITE, POSTGRES] for count in counts]
        run = Run(servers, database, options.seconds, options.rounds)
        print(f"{measured_on(options.program)}\n")
        run.print_tables()
        reads, whole_tables = run.print_statements()
        print()
        missed = run.check_aims(reads, whole_tables)
    print(f"{missed} aims are missed")
    return missed > 0


sys.exit(main())
