"""What the server does with three times as many requests as it can sign, and while passwords wait: see `run`, which prepares it."""

import argparse
import concurrent.futures
import contextlib
import http.client
import math
import os
import statistics
import sys
import threading
import time

import driver
from aims import Aims
from driver import Request
from loaded_server import LoadedServer, form, resource
from machine import measured_on

# How many times its capacity is requested.
SURPLUS = 3
# A caller's pause after each answer. Longer ones need more connections for the same rate.
PAUSE_MS = 200
# As in the default settings.
QUEUE, PASSWORD_QUEUE = 1024, 64


class Watch(threading.Thread):
    """One request after another, a few at a time each second: their statuses, their latencies in ms, and the headers of refusals."""

    def __init__(self, address, method, path, body=None, headers={}):
        super().__init__(daemon=True)
        self.address, self.request, self.done = address, (method, path, body, headers), threading.Event()
        self.answers = []

    def run(self):
        # It stands for a caller on another machine, whose wait for a core is not the server's.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        connection = http.client.HTTPConnection(self.address, timeout=30)
        while not self.done.wait(0.02):
            begun = time.perf_counter()
            connection.request(*self.request)
            answer = connection.getresponse()
            answer.read()
            self.answers.append((answer.status, (time.perf_counter() - begun) * 1e3, answer.getheader("Retry-After")))

    def end(self):
        self.done.set()
        self.join()
        return self

    def latencies(self, status):
        return sorted(latency for answered, latency, _ in self.answers if answered == status)

    def p99(self, status=200):
        latencies = self.latencies(status)
        return latencies[math.ceil(len(latencies) * 0.99) - 1] if latencies else math.inf


def measure(server, seconds):
    """The peak, and then three times as much."""
    body = form(grant_type="client_credentials", resource=resource("RS256"))
    request = Request("POST", "/oauth/token", server.authorization, body)
    before = server.cpu_seconds()
    figure = driver.drive(server.address, driver.in_turn(server.folder, [request]), seconds, 64)
    peak, token_cost = figure["rate"], (server.cpu_seconds() - before) / figure["answers"]
    # A third of the callers waits for the whole queue, the others for their pause alone.
    connections = round(SURPLUS * peak * (PAUSE_MS / 1e3 + QUEUE / peak / SURPLUS))
    headers = {"Authorization": server.authorization, "Content-Type": "application/x-www-form-urlencoded"}
    token = Watch(server.address, "POST", "/oauth/token", body, headers)
    others = {"JWKS": Watch(server.address, "GET", "/.well-known/jwks.json"), "readiness": Watch(server.address, "GET", "/health/ready")}
    paced, memory = driver.in_turn(server.folder, [request], pause_ms=PAUSE_MS), []
    # The queue fills.
    driver.drive(server.address, paced, 2, connections, may_refuse=True)
    for watch in [token, *others.values()]:
        watch.start()
    sampled = threading.Event()

    def sample():
        while not sampled.wait(0.5):
            memory.append(server.resident_mib())

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    before = server.cpu_seconds()
    figure = driver.drive(server.address, paced, seconds, connections, may_refuse=True)
    used = server.cpu_seconds() - before
    sampled.set()
    sampler.join()
    for watch in [token, *others.values()]:
        watch.end()
    requested, refused = figure["rate"], figure["refused"]
    granted = requested * (1 - refused / figure["answers"])
    assert refused, "nothing was refused"
    # By CPU time, which depends less on what else the machine does than rates that are measured one after the other. What a token costs more on
    # thousands of connections is in it, too.
    refusal_cost = (used - (figure["answers"] - refused) * token_cost) / refused
    assert all(retry for status, _, retry in token.answers if status == 503), "each refusal has a Retry-After"
    assert {status for status, *_ in token.answers} <= {200, 503}, token.answers
    assert all(status == 200 for watch in others.values() for status, *_ in watch.answers), "keys and readiness are answered throughout"
    half = len(memory) // 2
    return {
        "peak": peak, "connections": connections, "requested": requested, "granted": granted, "kept": granted / peak,
        "token_cost": token_cost * 1e6, "refusal_cost": refusal_cost * 1e6,
        "refusal_p99": token.p99(503), "jwks_p99": others["JWKS"].p99(), "ready_p99": others["readiness"].p99(),
        "growth": max(memory[half:]) / max(memory[:half]), "memory": max(memory),
    }


def beside_passwords(server, seconds):
    """Latencies (99 %) without load, and while one password is hashed and as many wait as may."""
    headers = {"Authorization": server.authorization, "Content-Type": "application/x-www-form-urlencoded"}
    body, waiting = form(grant_type="client_credentials", resource=resource("RS256")), []

    def watch():
        watches = {
            "a token by client credentials": Watch(server.address, "POST", "/oauth/token", body, headers),
            "the keys": Watch(server.address, "GET", "/.well-known/jwks.json"),
            "readiness": Watch(server.address, "GET", "/health/ready"),
        }
        for one in watches.values():
            one.start()
        for _ in range(seconds * 4):
            time.sleep(0.25)
            waiting.append(server.issuer.metric("password_hashing_waiting"))
        for one in watches.values():
            one.end()
        assert all(status == 200 for one in watches.values() for status, *_ in one.answers), "all are answered"
        return {name: one.p99() for name, one in watches.items()}

    alone, script = watch(), server.requests()["password"]()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        # The first ones may come all at once, before one of them is being hashed, and one is refused.
        load = pool.submit(driver.drive, server.address, script, seconds + 2, PASSWORD_QUEUE + 1, may_refuse=True)
        # The queue fills.
        time.sleep(1)
        waiting.clear()
        beside = watch()
        load.result()
    # Those that have their answer are about to wait again.
    assert statistics.median(waiting) > PASSWORD_QUEUE * 0.9, f"passwords that wait: {waiting}"
    return {name: (alone[name], beside[name]) for name in alone}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=os.path.abspath)
    parser.add_argument("seconds", type=int, nargs="?", default=10)
    parser.add_argument("rounds", type=int, nargs="?", default=3)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    half = len(cores) // 2
    assert half, "two cores are needed: one for the server, and one for the callers"
    with contextlib.ExitStack() as stack:
        # The server and its callers must not take cores from each other.
        os.sched_setaffinity(0, cores[:half])
        bounds = {"SEALWRIGHT_CONNECTIONS": "16384", "SEALWRIGHT_CONNECTIONS_PER_SOURCE": "16384", "SEALWRIGHT_SIGNING_QUEUE": str(QUEUE)}
        # Sign-ins that a round breaks off count as failed.
        bounds |= {"SEALWRIGHT_FAILED_ATTEMPTS_PER_SOURCE": "10000", "SEALWRIGHT_FAILED_ATTEMPTS_BURST": "1000"}
        server = LoadedServer(stack, "overloaded", options.program, bounds)
        os.sched_setaffinity(0, cores[half:])
        # As on most servers: no key signs without the queue.
        server.algorithms = ["RS256"]
        # One for each connection, so that their sign-ins do not end each other's logins.
        server.signing_in = [f"user-{number}" for number in range(PASSWORD_QUEUE + 1)]
        server.furnish()
        passwords = [beside_passwords(server, options.seconds) for _ in range(options.rounds)]
        rounds = [measure(server, options.seconds) for _ in range(options.rounds)]
    figure = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
    print(f"{measured_on(options.program)}, {half} of them for the server\n")
    print("| | |\n|---|---|")
    print(f"| tokens a second, as many as can be signed | {figure['peak']:,.0f} |")
    print(f"| requests a second, on {figure['connections']:,.0f} connections | {figure['requested']:,.0f} |")
    print(f"| tokens a second, meanwhile | {figure['granted']:,.0f} |")
    print(f"| CPU time of a token, and of a refusal | {figure['token_cost']:,.0f} µs, {figure['refusal_cost']:,.0f} µs |")
    print(f"| a refusal (503, `Retry-After`), 99 % | {figure['refusal_p99']:.1f} ms |")
    print(f"| the keys, 99 % | {figure['jwks_p99']:.1f} ms |")
    print(f"| readiness, 99 % | {figure['ready_p99']:.1f} ms |")
    print(f"| memory | {figure['memory']:.0f} MiB |\n")
    print(f"| 99 % | without load | while {PASSWORD_QUEUE} passwords wait |\n|---|---|---|")
    beside = {name: [statistics.median(one[name][which] for one in passwords) for which in [0, 1]] for name in passwords[0]}
    for name, (without, waiting) in beside.items():
        print(f"| {name} | {without:.1f} ms | {waiting:.1f} ms |")
    print()
    aims = Aims()
    aims.check("requests relative to the peak", figure["requested"] / figure["peak"], " times", least=2.8)
    aims.check("tokens relative to the peak", figure["kept"], "", least=0.9)
    aims.check("a refusal, 99 %", figure["refusal_p99"], " ms", most=5)
    aims.check("the keys, 99 %", figure["jwks_p99"], " ms", most=5)
    aims.check("readiness, 99 %", figure["ready_p99"], " ms", most=5)
    for name, (_, waiting) in beside.items():
        aims.check(f"{name}, 99 %, while passwords wait", waiting, " ms", most=5)
    aims.check("memory, second half relative to the first", figure["growth"], "", most=1.05)
    print(f"{aims.missed} aims are missed")
    return aims.missed > 0


sys.exit(main())
