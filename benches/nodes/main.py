"""What a token costs with one, two and three nodes on one PostgreSQL: see `run`, which prepares it."""

import argparse
import concurrent.futures
import contextlib
import os
import statistics
import sys
import time

import driver
from aims import Aims
from database import Database
from loaded_server import LoadedServer
from machine import measured_on
from rounds import order_of_round
from world import free_port

COUNTS = [1, 2, 3]
# Of each node, as its callers would be: with fewer, a node answers fewer requests each time that it wakes, and each costs more.
CONNECTIONS, PASSWORD_CONNECTIONS = 32, 4
TOKENS = [f"client credentials, {algorithm}" for algorithm in ["RS256", "ES256", "Ed25519"]]
ROWS = [*TOKENS, "password", "refresh token", "introspection"]
FLAT, SHARE = 1.15, 0.01


class Node(LoadedServer):
    # As many that each has few logins: a sign-in reads those of its user, and waits for other sign-ins of the same one.
    signing_in = [f"user-{number}" for number in range(64)]


class Cluster:
    """Three nodes on one PostgreSQL, of which as many run as are measured."""

    def __init__(self, stack, program):
        self.database = Database(stack)
        settings = {
            "SEALWRIGHT_DATABASE_URL": self.database.postgres.url,
            "SEALWRIGHT_ISSUER": f"http://127.0.0.1:{free_port()}",
            # No sign-in ends an older login.
            "SEALWRIGHT_LOGINS_PER_USER": "10000",
        }
        first = Node(stack, "1", program, settings)
        first.furnish()
        settings["SEALWRIGHT_SEALING_KEY_FILE"] = f"{first.folder}/keys/sealing.key"
        self.nodes = [first, *(Node(stack, str(count), program, settings) for count in COUNTS[1:])]
        for node in self.nodes:
            node.authorization = first.authorization
        self.rows = [node.requests() for node in self.nodes]
        self.running = self.nodes

    def run(self, count):
        for node in self.running[count:]:
            node.stop()
        for node in self.nodes[len(self.running):count]:
            node.start()
            node.wait()
        self.running = self.nodes[:count]

    def cpu_seconds(self):
        return sum(node.cpu_seconds() for node in self.running)

    def idle(self, seconds):
        """What PostgreSQL and the nodes do in a second without a request."""
        before = self.cpu_seconds()
        _, done = self.database.measure(lambda: time.sleep(seconds))
        nodes = self.cpu_seconds() - before
        return {"nodes": nodes / done["seconds"], **{key: done[key] / done["seconds"] for key in ["cpu", "statements", "wal"]}}

    def load(self, row, seconds, idle):
        """The rate of the answers, and what each costs, without what PostgreSQL does when it is idle."""
        scripts = [rows[row]() for _, rows in zip(self.running, self.rows)]
        connections = PASSWORD_CONNECTIONS if row == "password" else CONNECTIONS

        def drive(node, script):
            return driver.drive(node.address, script, seconds, connections)

        def work():
            with concurrent.futures.ThreadPoolExecutor() as pool:
                return list(pool.map(drive, self.running, scripts))

        before = self.cpu_seconds()
        figures, done = self.database.measure(work)
        nodes, answers = self.cpu_seconds() - before, sum(figure["answers"] for figure in figures)
        costs = {key: (done[key] - idle[key] * done["seconds"]) / answers for key in ["cpu", "statements", "wal"]}
        return costs | {"nodes": nodes / answers, "rate": sum(figure["rate"] for figure in figures)}


def shown(figure, digits):
    """Without the sign of what rounds to zero."""
    return f"{round(figure, digits) + 0.0:,.{digits}f}"


class Run:
    """The figures of one run by round: of each row with each number of nodes, and without load."""

    def __init__(self, cluster, seconds, rounds):
        self.idle = {count: [] for count in COUNTS}
        self.figures = {(row, count): [] for row in ROWS for count in COUNTS}
        for number in range(rounds):
            for count in order_of_round(COUNTS, number):
                cluster.run(count)
                # Connections, caches and code pages become warm.
                for row in ROWS:
                    cluster.load(row, 1, {"cpu": 0, "statements": 0, "wal": 0})
                idle = cluster.idle(seconds)
                self.idle[count].append(idle)
                for row in order_of_round(ROWS, number):
                    self.figures[row, count].append(cluster.load(row, seconds, idle))

    def median(self, place, key):
        return statistics.median(figure[key] for figure in self.figures[place])

    def print_tables(self):
        print("| | nodes | answers a second | CPU time of the nodes | CPU time of PostgreSQL | statements | WAL |\n|---|---|---|---|---|---|---|")
        for row, count in self.figures:
            rate, nodes, cpu, statements, wal = (self.median((row, count), key) for key in ["rate", "nodes", "cpu", "statements", "wal"])
            costs = f"{nodes * 1e6:,.0f} µs | {shown(cpu * 1e6, 1)} µs | {shown(statements, 2)} | {shown(wal, 0)} B"
            print(f"| {row} | {count} | {rate:,.0f} | {costs} |")
        for count, figures in self.idle.items():
            nodes, cpu, statements = (statistics.median(figure[key] for figure in figures) for key in ["nodes", "cpu", "statements"])
            print(f"| idle, in a second | {count} | | {nodes * 1e6:,.0f} µs | {cpu * 1e6:,.0f} µs | {statements:.1f} | |")

    def check_aims(self):
        """How many are missed."""
        aims, fewest, most = Aims(), COUNTS[0], COUNTS[-1]
        for row in TOKENS:
            ratio = statistics.median(many["nodes"] / one["nodes"] for one, many in zip(self.figures[row, fewest], self.figures[row, most]))
            aims.check(f"{row}: the cost with {most} nodes relative to one", ratio, " times the CPU", most=FLAT)
        for row in TOKENS:
            for count in COUNTS:
                share = statistics.median(figure["cpu"] / figure["nodes"] for figure in self.figures[row, count])
                aims.check(f"{row}, nodes: {count}: PostgreSQL relative to the nodes", share * 100, " % of the CPU", most=SHARE * 100)
        return aims.missed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=os.path.abspath)
    parser.add_argument("seconds", type=int, nargs="?", default=4)
    parser.add_argument("rounds", type=int, nargs="?", default=5)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        run = Run(Cluster(stack, options.program), options.seconds, options.rounds)
    print(f"{measured_on(options.program)}\n")
    run.print_tables()
    print()
    missed = run.check_aims()
    print(f"{missed} aims are missed")
    return missed > 0


sys.exit(main())
