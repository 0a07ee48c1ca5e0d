"""What the guard and attach cost beside other programs: see `run`, which prepares it."""

import argparse
import contextlib
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request

import load
import programs
from aims import Aims
from issuer import basic, issuer as served
from rounds import order_of_round

AUDIENCE, SCOPE = "https://orders.example", "orders:read"
# A cache by token would have to hold all of them.
TOKENS, RATE, IDLE = 200, 2000, 10_000
KIB_64 = 64 * 1024
NOTHING = "nginx and a checker that checks nothing"

RULES = """
[[issuer]]
issuer = "{issuer}"
audience = "{audience}"

[[rule]]
methods = ["GET"]
path = "/orders/{{id}}"
scope = "orders:read"

[[rule]]
methods = ["POST"]
path = "/orders/{{id}}"
scope = "orders:read"

[[rule]]
path = "/files/{{*path}}"
scope = "orders:read"

[[rule]]
path = "/users/{{id}}/{{*rest}}"
owner = "id"

[[rule]]
path = "/health"
public = true
"""


class Client:
    """A client with tokens."""

    def __init__(self, issuer):
        issuer.run("resource", "create", AUDIENCE, "--scope", SCOPE, "--token-lifetime", "24h")
        created = json.loads(issuer.run("client", "create", "billing", "--grant", "client_credentials", "--allow", f"{AUDIENCE}={SCOPE}", "--json"))
        self.issuer, self.secret = issuer, created["secret"]["value"]
        self.tokens = [self.token() for _ in range(TOKENS)]
        assert len(set(self.tokens)) == TOKENS

    def token(self):
        form = urllib.parse.urlencode({"grant_type": "client_credentials"}).encode()
        request = urllib.request.Request(f"http://{self.issuer.address}/oauth/token", form, {"Authorization": basic("billing", self.secret)})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["access_token"]


def authorization(token):
    return {"Authorization": f"Bearer {token}"} if token else {}


class World:
    """The API, and each program in front of it."""

    def __init__(self, stack, program, uvicorn):
        self.stack, self.program = stack, program
        self.folder = stack.enter_context(tempfile.TemporaryDirectory())
        # nginx's workers are not root.
        os.chmod(self.folder, 0o711)
        issuer = stack.enter_context(served(program))
        self.issuer, self.client = issuer.url, Client(issuer)
        self.tokens, self.file, folder = self.client.tokens, os.urandom(KIB_64), self.folder
        self.rules = pathlib.Path(folder, "rules.toml")
        self.rules.write_text(RULES.format(issuer=issuer.url, audience=AUDIENCE))
        self.api = self.add(programs.api(folder, {"64k": self.file}))
        self.guard = self.add_guard("guard", "--gateway=nginx", "--behind-proxy=127.0.0.1")
        self.forwarding = self.add_guard("guard-upstream", f"--upstream=http://{self.api.address}")
        # The level `warn`, except for the line that says where it listens.
        self.quiet = self.add_guard("guard-quiet", f"--upstream=http://{self.api.address}", "--log=warn,sealwright::guard::guard=info")
        self.attach = self.add_attach("attach")
        self.pyjwt = self.add(programs.pyjwt(folder, uvicorn, issuer.url, AUDIENCE))
        self.oauth2_proxy = self.add(programs.oauth2_proxy(folder, issuer.url, AUDIENCE, self.api.address))
        self.caddy = self.add(programs.caddy(folder, "caddy", self.api.address))
        self.caddy_logging = self.add(programs.caddy(folder, "caddy-logging", self.api.address, "log"))
        self.nginx = self.add(programs.nginx(folder, "nginx", programs.FRONT, api=self.api.address))
        self.admitting = self.add(programs.nginx(folder, "admitting", programs.ADMITTING))
        self.nginx_admitting = self.add_checked("nginx-admitting", self.admitting)
        self.nginx_guard = self.add_checked("nginx-guard", self.guard)
        self.nginx_pyjwt = self.add_checked("nginx-pyjwt", self.pyjwt)
        self.nginx_oauth2_proxy = self.add_checked("nginx-oauth2-proxy", self.oauth2_proxy, "/oauth2/auth")

    def add(self, program):
        self.stack.callback(program.stop)
        return program

    def add_guard(self, name, *flags):
        return self.add(programs.Sealwright(self.folder, name, self.program, "guard", f"--rules={self.rules}", *flags))

    def add_attach(self, name, *flags):
        flags = [f"--to=http://{self.api.address}", f"--issuer={self.issuer}", "--client=billing", *flags]
        environment = {"SEALWRIGHT_CLIENT_SECRET": self.client.secret}
        return self.add(programs.Sealwright(self.folder, name, self.program, "attach", *flags, environment=environment))

    def add_checked(self, name, checker, path=""):
        values = {"api": self.api.address, "checker": checker.address, "path": path}
        return self.add(programs.nginx(self.folder, name, programs.CHECKED_FRONT, **values))

    def check_refusing(self):
        """Each program that checks tokens refuses a bad one and none: one that admits all would be the fastest."""
        good = self.tokens[0]
        # Another signature, of the same length.
        bad = good[:-20] + good[-20:].swapcase()
        for program in [self.nginx_guard, self.nginx_pyjwt, self.nginx_oauth2_proxy, self.oauth2_proxy, self.forwarding, self.quiet]:
            for token in [bad, None]:
                status, body = programs.ask(program.address, "/orders/7", authorization(token))
                assert status in [401, 403], f"{program.name}: {status} {body} with {'a bad token' if token else 'no token'}"

    def check_forwarding(self):
        """Each program passes on what the API answers."""
        forwarding = [self.nginx, self.nginx_admitting, self.nginx_guard, self.nginx_pyjwt, self.nginx_oauth2_proxy, self.caddy, self.caddy_logging, self.forwarding,
                      self.quiet, self.oauth2_proxy]
        for program, token in [(self.attach, None), *((program, self.tokens[0]) for program in forwarding)]:
            requests = [("/orders/7", None, programs.ANSWER), ("/orders/7", b"x" * KIB_64, programs.ANSWER), ("/files/64k", None, self.file)]
            for path, body, wanted in requests:
                answer = programs.ask(program.address, path, authorization(token), body)
                assert answer == (200, wanted), f"{program.name}, {path}: {answer[0]} {answer[1][:200]}"

    def versions(self):
        ours, nginx = (subprocess.run(command, capture_output=True, text=True) for command in [[self.program, "--version"], [programs.NGINX, "-v"]])
        return ", ".join([ours.stdout.strip(), nginx.stderr.strip(), *map(module_version, ["caddy", "oauth2-proxy"])])


def module_version(program):
    """The version of a program in Go: built from its module, some do not know their own."""
    output = subprocess.run(["go", "version", "-m", shutil.which(program)], check=True, capture_output=True, text=True).stdout
    fields = next(line.split() for line in output.splitlines() if line.startswith("\tmod\t"))
    return f"{program} {fields[2]}"


def in_turn(names, count, measure):
    """`count` figures of each name."""
    figures = {name: [] for name in names}
    for number in range(count):
        for name in order_of_round(names, number):
            figures[name].append(measure(name))
    return figures


def median(figures, key):
    return statistics.median(figure[key] for figure in figures)


def at_rate(world, rounds, seconds):
    """The latency that the guard and attach add, and what nginx adds in the place of each when it only passes on."""
    places = {
        "nginx": (world.nginx, world.tokens, world.nginx),
        NOTHING: (world.nginx_admitting, world.tokens, world.admitting),
        "nginx and the guard": (world.nginx_guard, world.tokens, world.guard),
        "the API directly": (world.api, world.tokens, world.api),
        "nginx before the API": (world.nginx, world.tokens, world.nginx),
        "attach": (world.attach, [None], world.attach),
    }

    def measure(name):
        program, tokens, measured = places[name]
        measured.empty_log()
        before = measured.cpu_seconds()
        figure = load.at_rate(world.folder, program.address, tokens, RATE, seconds)
        return figure | {"cpu": (measured.cpu_seconds() - before) * 1e6 / figure["requests"]}

    names = list(places)
    figures = {}
    for compared in names[:3], names[3:]:
        figures |= in_turn(compared, rounds, measure)
    print(f"\n| at {RATE:,} requests a second | median | 99 % |\n|---|---|---|")
    for name in names:
        print(f"| {name} | {median(figures[name], 'p50'):.2f} ms | {median(figures[name], 'p99'):.2f} ms |")
    late = max(figure["late_p99"] for list in figures.values() for figure in list)
    print(f"\nThe caller itself was late by up to {late:.2f} ms (99 %).")

    def added(base, name, key):
        return statistics.median(one[key] - other[key] for one, other in zip(figures[name], figures[base]))

    for base, name, program in [(names[0], names[1], world.admitting), (names[0], names[2], world.guard),
                                (names[3], names[4], world.nginx), (names[3], names[5], world.attach)]:
        print(
            f"{name}: {added(base, name, 'p50'):.2f} ms more than {base} (median), {added(base, name, 'p99'):.2f} ms (99 %), "
            f"{median(figures[name], 'cpu'):.0f} us of CPU time per request, {program.resident_mib('VmHWM'):.1f} MiB of memory at most")
    return {
        "guard": (added(names[0], names[2], "p99"), world.guard.resident_mib("VmHWM")),
        "attach": (added(names[3], names[5], "p99"), world.attach.resident_mib("VmHWM")),
    }


def throughput(world, rounds, seconds, places, title, reference, **request):
    """Requests per second of each place, as a table. `places` has the programs whose CPU time counts."""

    def measure(name):
        program, used = places[name][0], places[name][1:]
        for each in used:
            each.empty_log()
        before = sum(each.cpu_seconds() for each in used)
        rate, count = load.as_fast_as_answered(world.folder, program.address, world.tokens, seconds, **request)
        return {"rate": rate, "cpu": (sum(each.cpu_seconds() for each in used) - before) * 1e6 / count}

    for name in places:
        load.as_fast_as_answered(world.folder, places[name][0].address, world.tokens, 2, **request)
    figures = in_turn(list(places), rounds, measure)

    def ratio(name, other):
        """Of the two in the same round."""
        return statistics.median(one["rate"] / two["rate"] for one, two in zip(figures[name], figures[other]))

    print(f"\n| {title} | requests a second | relative to {reference} | CPU time per request |\n|---|---|---|---|")
    for name in places:
        print(f"| {name} | {median(figures[name], 'rate'):,.0f} | {ratio(name, reference):.2f} | {median(figures[name], 'cpu'):.0f} us |", flush=True)
    return ratio


def idle(program, metric, tokens, count):
    """MiB with 10,000 idle connections, of which so many were opened and work afterwards."""
    before = program.resident_mib()
    connections = load.Idle(program.address, tokens, count)
    try:
        resident, open = program.resident_mib(), program.metric(metric)
        assert open >= count, f"{program.name}: {open} connections are open"
        for number in range(0, count, 100):
            connections.ask(number)
    finally:
        connections.close()
    each = (resident - before) / count
    print(f"{program.name}: {resident:.0f} MiB with {count:,} idle connections, {each * 1024:.1f} KiB for each", flush=True)
    return before + each * IDLE


def affordable():
    """How many connections `sealwright` accepts with the descriptors of this machine. For each it keeps one free for the connection behind it,
    and some for itself."""
    return min(IDLE, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 500)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=os.path.abspath)
    parser.add_argument("uvicorn")
    parser.add_argument("seconds", type=int, nargs="?", default=10)
    parser.add_argument("rounds", type=int, nargs="?", default=3)
    options = parser.parse_args()
    rounds, seconds, aims = options.rounds, options.seconds, Aims()
    with contextlib.ExitStack() as stack:
        world = World(stack, options.program, options.uvicorn)
        world.check_refusing()
        world.check_forwarding()
        print(world.versions(), flush=True)
        added = at_rate(world, rounds, seconds)

        caddy, forwarding = "Caddy, which checks nothing", "guard --upstream"
        behind_nginx, pyjwt, oauth2_proxy = "nginx and the guard", "nginx and a checker with PyJWT", "nginx and oauth2-proxy"
        fronts = {
            "nginx, which checks nothing": (world.nginx, world.nginx),
            NOTHING: (world.nginx_admitting, world.nginx_admitting, world.admitting),
            behind_nginx: (world.nginx_guard, world.nginx_guard, world.guard),
            pyjwt: (world.nginx_pyjwt, world.nginx_pyjwt, world.pyjwt),
            oauth2_proxy: (world.nginx_oauth2_proxy, world.nginx_oauth2_proxy, world.oauth2_proxy),
            caddy: (world.caddy, world.caddy),
            "Caddy with an access log": (world.caddy_logging, world.caddy_logging),
            forwarding: (world.forwarding, world.forwarding),
            "guard --upstream, which logs no requests": (world.quiet, world.quiet),
            "oauth2-proxy as the proxy": (world.oauth2_proxy, world.oauth2_proxy),
        }
        ratio = throughput(world, rounds, seconds, fronts, f"{load.CONNECTIONS} connections", forwarding)
        both = {name: fronts[name] for name in [caddy, forwarding]}
        fewer = throughput(world, rounds, seconds, both, "32 connections", caddy, connections=32)
        down = throughput(world, rounds, seconds, both, "answers of 64 KiB", caddy, path="/files/64k")
        up = throughput(world, rounds, seconds, both, "requests of 64 KiB", caddy, upload=KIB_64)
        count = affordable()
        guard = world.add_guard("guard-idle", f"--upstream=http://{world.api.address}", f"--connections={count}", f"--connections-per-source={count}")
        attach = world.add_attach("attach-idle", f"--connections={count}")
        print()
        memory = {
            "guard": idle(guard, "sealwright_guard_connections", world.tokens, count),
            "attach": idle(attach, "sealwright_attach_connections", [None], count),
        }

        print()
        aims.check("the guard adds to nginx (99 %)", added["guard"][0], " ms", most=0.3)
        aims.check("memory of the guard", added["guard"][1], " MiB", most=25)
        for what, ratios in {"64 connections": ratio, "32 connections": fewer, "answers of 64 KiB": down, "requests of 64 KiB": up}.items():
            aims.check(f"guard --upstream, relative to Caddy, {what}", ratios(forwarding, caddy), "", least=0.8)
        for name in [pyjwt, oauth2_proxy, "oauth2-proxy as the proxy"]:
            for ours in [behind_nginx, forwarding]:
                aims.check(f"{ours}, relative to {name}", ratio(ours, name), "", least=5)
        aims.check("attach adds (99 %)", added["attach"][0], " ms", most=0.2)
        for name, figure in memory.items():
            aims.check(f"memory of {name} with {IDLE:,} idle connections", figure, " MiB", most=400)
    print(f"{aims.missed} aims are missed")
    return aims.missed > 0


sys.exit(main())
