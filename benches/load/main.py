"""What the server answers under load, and what that costs: see `run`, which prepares it."""

import argparse
import base64
import contextlib
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import chart
import driver
import processes
from aims import Aims
from driver import Request
from issuer import basic
from loaded_server import CLIENT, PATIENCE, LoadedServer, form
from machine import measured_on
from rounds import order_of_round
from world import Postgres

# needs: initdb=postgresql

CONNECTIONS = 32
# Each hash takes a core for tens of milliseconds.
PASSWORD_CONNECTIONS = 4
# The row that the others are compared with.
REFERENCE = "client credentials, RS256"
# Only that row is measured without them.
WITHOUT_LISTS = "SQLite, without status lists"


class Server(LoadedServer):
    """A server on its own database, whose start and memory are measured."""

    def __init__(self, stack, name, program, settings={}):
        super().__init__(stack, name, program, settings)
        self.furnish()
        self.restart()

    def requests(self):
        """The rows, by their names: what makes the script, and on how many connections."""
        rows = super().requests()
        return {name: (script, PASSWORD_CONNECTIONS if name == "password" else CONNECTIONS) for name, script in rows.items()}


class Peer:
    """npm's oidc-provider, with a process for each core."""

    name = "oidc-provider"

    def __init__(self, stack, module):
        self.folder = stack.enter_context(tempfile.TemporaryDirectory())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        secret, port = base64.urlsafe_b64encode(os.urandom(24)).decode(), self.address.split(":")[1]
        log = pathlib.Path(self.folder, "log")
        command = ["node", pathlib.Path(module, "peer.mjs"), port, str(os.cpu_count()), CLIENT, secret]
        with log.open("w") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, "NODE_ENV": "production"})
        stack.callback(self.stop)
        self.authorization = basic(CLIENT, secret)
        self.request = Request("POST", "/token", self.authorization, form(grant_type="client_credentials", scope="orders:read"))
        deadline = time.monotonic() + PATIENCE
        while True:
            assert self.process.poll() is None and time.monotonic() < deadline, log.read_text()
            with contextlib.suppress(OSError):
                data = form(grant_type="client_credentials", scope="orders:read").encode()
                request = urllib.request.Request(f"http://{self.address}/token", data, {"Authorization": self.authorization})
                token = json.load(urllib.request.urlopen(request, timeout=PATIENCE))["access_token"]
                break
            time.sleep(0.1)
        assert json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))["alg"] == "RS256"

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def cpu_seconds(self):
        return processes.cpu_seconds(self.process.pid)

    def requests(self):
        return {REFERENCE: (lambda: driver.in_turn(self.folder, [self.request]), CONNECTIONS)}


def raw_costs(program, seconds):
    """Microseconds of CPU time per signature and hash, on all cores at once."""
    return json.loads(subprocess.run([program, str(seconds)], check=True, capture_output=True, text=True).stdout)


class Run:
    """The figures of one run: those of each row of each server by round, and the raw costs by round."""

    def __init__(self, servers, raw, seconds, count):
        self.servers, self.raw = servers, []
        places = {(server.name, row): (server, *how) for server in servers for row, how in server.requests().items()
                  if row == REFERENCE or server.name != WITHOUT_LISTS}
        # Connections, caches and code pages become warm.
        for server, script, connections in places.values():
            driver.measure(server, script(), 1, connections)
        self.figures = {place: [] for place in places}
        for number in range(count):
            self.raw.append(raw_costs(raw, seconds / 4))
            for place in order_of_round(places, number):
                server, script, connections = places[place]
                self.figures[place].append(driver.measure(server, script(), seconds, connections))

    def median(self, place, key):
        return statistics.median(figure[key] for figure in self.figures[place])

    def raw_cost(self, name):
        return statistics.median(costs[name] for costs in self.raw)

    def ratio(self, place, other, key):
        """Of the two in the same round."""
        return statistics.median(one[key] / two[key] for one, two in zip(self.figures[place], self.figures[other]))

    def print_tables(self):
        print("| | answers a second | 50 % | 99 % | 99.9 % | CPU time per answer |\n|---|---|---|---|---|---|")
        for place in self.figures:
            times = " | ".join(f"{self.median(place, key):.1f} ms" for key in ["p50", "p99", "p999"])
            print(f"| {place[0]}: {place[1]} | {self.median(place, 'rate'):,.0f} | {times} | {self.median(place, 'cpu'):,.0f} µs |")
        print("\n| raw, on all cores | CPU time |\n|---|---|")
        for name in self.raw[0]:
            print(f"| {name} | {self.raw_cost(name):,.0f} µs |")
        print("\n| | from the start to the first token | memory, idle | memory, at most |\n|---|---|---|---|")
        for server in self.servers:
            if isinstance(server, Server):
                first, most = server.until_first_token * 1e3, server.resident_mib("VmHWM")
                print(f"| {server.name} | {first:.0f} ms | {server.idle_mib:.1f} MiB | {most:.1f} MiB |")

    def check_aims(self):
        """How many are missed."""
        reference, aims = ("SQLite", REFERENCE), Aims()
        of_raw = statistics.median(figure["cpu"] / costs["RS256"] for figure, costs in zip(self.figures[reference], self.raw))
        aims.check("a token by RS256 relative to its raw signature", of_raw, " times the CPU", most=1.2)
        for algorithm in ["ES256", "Ed25519"]:
            place = ("SQLite", f"client credentials, {algorithm}")
            aims.check(f"tokens by {algorithm} relative to RS256", self.ratio(place, reference, "rate"), " times the rate", least=8)
        spread = statistics.median(figure["p99"] / figure["p50"] for figure in self.figures[reference])
        aims.check("99 % relative to 50 %", spread, "", most=2)
        if (Peer.name, REFERENCE) in self.figures:
            faster = self.ratio(reference, (Peer.name, REFERENCE), "rate")
            aims.check(f"tokens relative to {Peer.name}", faster, " times the rate", least=2.1)
        password = self.median(("SQLite", "password"), "cpu") - self.raw_cost("argon2id")
        aims.check("a token for a password beside its raw hash", password / 1e3, " ms more CPU", most=2)
        return aims.missed

    def chart(self):
        # A password costs a hundred times as much, by design.
        costs = {f"{server}: {row}": self.median((server, row), "cpu") for server, row in self.figures if row != "password"}
        return chart.bars("CPU time of the server per answer", "µs", costs)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=os.path.abspath)
    parser.add_argument("raw", type=os.path.abspath)
    parser.add_argument("--peer", help="the folder with peer.mjs and its modules; without it, no peer is measured")
    parser.add_argument("--chart", type=pathlib.Path, help="the SVG file to write")
    parser.add_argument("seconds", type=int, nargs="?", default=4)
    parser.add_argument("rounds", type=int, nargs="?", default=5)
    options = parser.parse_intermixed_args()
    with contextlib.ExitStack() as stack:
        postgres = Postgres(durable=True)
        stack.callback(postgres.remove)
        servers = [
            Server(stack, "SQLite", options.program),
            Server(stack, "PostgreSQL", options.program, {"SEALWRIGHT_DATABASE_URL": postgres.url}),
            Server(stack, WITHOUT_LISTS, options.program, {"SEALWRIGHT_STATUS_LISTS": "false"}),
        ]
        if options.peer:
            servers.append(Peer(stack, options.peer))
        run = Run(servers, options.raw, options.seconds, options.rounds)
        print(f"{measured_on(options.program)}\n")
        run.print_tables()
        print()
        missed = run.check_aims()
        if options.chart:
            options.chart.write_text(run.chart())
    print(f"{missed} aims are missed")
    return missed > 0


sys.exit(main())
