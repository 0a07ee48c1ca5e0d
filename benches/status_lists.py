"""How fast a status list is answered while the token endpoint is saturated, and what publishing costs.

    cargo build --release && python3 benches/status_lists.py target/release/sealwright [SECONDS]

One connection requests a list 200 times a second for SECONDS (20): while the server is idle, while wrk requests tokens with 128 connections, so that
all cores sign, and the same with a signing queue of 16, so that most tokens are refused. Meanwhile one token a second is revoked, so that each second
a new list is signed. Run it as root: only then does the caller not wait itself for a core, all of which wrk and the server keep busy. Last, it counts
the CPU time per publication for lists with more and more positions set. Takes about 6 minutes. Needs wrk.
"""

import base64
import contextlib
import http.client
import json
import multiprocessing
import os
import random
import re
import sqlite3
import subprocess
import sys
import time
import urllib.request

from issuer import basic, issuer as served

SECONDS = int((sys.argv[2:] or [20])[0])
PAUSE = 1 / 200
POSITIONS = 1 << 20
WANTED = 5
FORM = "grant_type=client_credentials"
# Fewer than the server accepts of one address.
CONNECTIONS = 128


class List:
    """The list of a client's tokens, of which positions are set as by a revocation."""

    def __init__(self, issuer, client, secret):
        self.issuer, self.authorization = issuer, basic(client, secret)
        headers = {"Authorization": self.authorization, "Content-Type": "application/x-www-form-urlencoded"}
        request = urllib.request.Request(f"http://{issuer.address}/oauth/token", FORM.encode(), headers)
        token = json.load(urllib.request.urlopen(request))["access_token"]
        uri = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["status"]["status_list"]["uri"]
        self.id = uri.rsplit("/", 1)[1]
        self.path = f"/oauth/status-lists/{self.id}"

    def revoke(self, positions):
        with contextlib.closing(sqlite3.connect(f"{self.issuer.folder}/sealwright.db", timeout=30)) as database, database:
            now = int(time.time())
            database.execute("UPDATE epochs SET n = n + 1 WHERE kind = 'revocations'")
            (epoch,) = database.execute("SELECT n FROM epochs WHERE kind = 'revocations'").fetchone()
            rows = [(epoch, self.id, position, 1, now, now + 86_400) for position in positions]
            database.executemany("INSERT INTO revocations (epoch, list_id, start, width, revoked_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)", rows)

    def size(self):
        return len(urllib.request.urlopen(f"http://{self.issuer.address}{self.path}").read())


def metric(issuer, name):
    text = urllib.request.urlopen(issuer.metrics).read().decode()
    return float(re.search(rf"^{name} (\S+)", text, re.M)[1])


def signed(issuer):
    return metric(issuer, "sealwright_status_lists_signed_total")


@contextlib.contextmanager
def ahead_of_all():
    """Gives this thread a core as soon as it needs one, if it may. Threads and processes that it starts have no such priority."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except PermissionError:
        print("no priority: the figures include the caller's own wait for a core")
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def revoke_every_second(status_list):
    while True:
        time.sleep(1)
        status_list.revoke([random.randrange(POSITIONS)])


def latencies(status_list):
    """The milliseconds of each request, while a token is revoked every second."""
    # In a process of its own: a thread would hold the interpreter's lock while it waits for a core.
    revoking = multiprocessing.get_context("fork").Process(target=revoke_every_second, args=[status_list], daemon=True)
    revoking.start()
    connection, figures, until = http.client.HTTPConnection(status_list.issuer.address), [], time.monotonic() + SECONDS
    try:
        with ahead_of_all():
            while time.monotonic() < until:
                begun = time.perf_counter()
                connection.request("GET", status_list.path)
                answer = connection.getresponse()
                body = answer.read()
                figures.append((time.perf_counter() - begun) * 1000)
                assert answer.status == 200 and body.count(b".") == 2, answer.status
                time.sleep(PAUSE)
    finally:
        revoking.terminate()
        revoking.join()
        connection.close()
    return sorted(figures)


def measure(issuer, status_list, what):
    """Prints how fast the list is answered, and returns the 99th percentile."""
    before = signed(issuer)
    figures = latencies(status_list)
    p = lambda part: figures[min(int(len(figures) * part), len(figures) - 1)]
    shown = f"{len(figures):,} requests, p50 {p(0.5):.2f} ms, p99 {p(0.99):.2f} ms, max {figures[-1]:.2f} ms"
    print(f"{what}: {shown}; {signed(issuer) - before:.0f} lists signed in {SECONDS} s", flush=True)
    return p(0.99)


def saturated(issuer, status_list, what):
    script = issuer.wrk_script("tokens", status_list.authorization, FORM)
    wrk = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS + 4}s", "-s", script, f"http://{issuer.address}/oauth/token"]
    with subprocess.Popen(wrk, stdout=subprocess.PIPE, text=True) as load:
        time.sleep(2)
        p99 = measure(issuer, status_list, what)
        out, _ = load.communicate()
    requests = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])
    refused = int((re.search(r"Non-2xx or 3xx responses: (\d+)", out) or [0, 0])[1])
    print(f"  {requests:,.0f} token requests/s, {refused:,} of them refused; p99 under {WANTED} ms wanted", flush=True)
    return p99


def publishing(issuer, status_list):
    positions, done = random.sample(range(POSITIONS), POSITIONS), 0
    for wanted in [1_000, 10_000, 100_000, 500_000]:
        status_list.revoke(positions[done:wanted])
        done = wanted
        # The server reads many revocations in several looks.
        while metric(issuer, "sealwright_positions_revoked") < wanted:
            time.sleep(0.5)
        time.sleep(3)
        cpu = []
        for changes in [0, 1]:
            before = issuer.cpu_seconds(), signed(issuer)
            for _ in range(20):
                if changes:
                    status_list.revoke([positions[done]])
                    done += 1
                time.sleep(1.1)
            cpu.append((issuer.cpu_seconds() - before[0], signed(issuer) - before[1]))
        (still, _), (busy, count) = cpu
        cost = (busy - still) / max(count, 1) * 1000
        print(f"{wanted:,} positions set: {status_list.size():,} bytes, {cost:.1f} ms of CPU per publication ({count:.0f})", flush=True)


slowest = 0
for queue, what in [("1024", "saturated, all cores sign"), ("16", "saturated, most tokens are refused")]:
    with served(sys.argv[1], {"SEALWRIGHT_SIGNING_QUEUE": queue}) as issuer:
        secrets = issuer.create_clients([])
        status_list = List(issuer, "first", secrets["first"])
        status_list.revoke(random.sample(range(POSITIONS), 10_000))
        time.sleep(3)
        print(f"a signing queue of {queue}, a list of {status_list.size():,} bytes")
        measure(issuer, status_list, "idle")
        p99 = saturated(issuer, status_list, what)
        # The wish is for a server that signs as fast as it can. One that refuses seven times as many requests answers them all in turn.
        slowest = max(slowest, p99 if queue == "1024" else 0)

with served(sys.argv[1]) as issuer:
    secrets = issuer.create_clients([])
    status_list = List(issuer, "first", secrets["first"])
    status_list.size()
    publishing(issuer, status_list)

sys.exit(slowest >= WANTED)
