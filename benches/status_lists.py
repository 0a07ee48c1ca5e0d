"""How fast a status list is answered while the token endpoint is saturated, and what publishing costs.

    cargo build --release && python3 benches/status_lists.py target/release/sealwright [SECONDS]

One connection requests a list 200 times a second for SECONDS (20), first while the server is idle, then while wrk requests tokens with 256
connections and a signing queue of 16, so that tokens are refused. Meanwhile one token a second is revoked, so that each second a new list is
signed. Last, it counts the CPU time per publication for lists with more and more positions set. Needs wrk.
"""

import base64
import http.client
import json
import os
import random
import re
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request

os.environ["SEALWRIGHT_SIGNING_QUEUE"] = "16"

from issuer import issuer as served

SECONDS = int((sys.argv[2:] or [20])[0])
PAUSE = 1 / 200
POSITIONS = 1 << 20

SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
wrk.headers["Authorization"] = "Basic %s"
wrk.body = "grant_type=client_credentials"
"""


class List:
    """The list of a client's tokens, of which positions are set as by a revocation."""

    def __init__(self, issuer, client, secret):
        self.issuer = issuer
        basic = base64.b64encode(f"{client}:{secret}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
        request = urllib.request.Request(f"http://{issuer.address}/oauth/token", b"grant_type=client_credentials", headers)
        token = json.load(urllib.request.urlopen(request))["access_token"]
        uri = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["status"]["status_list"]["uri"]
        self.id, self.basic = uri.rsplit("/", 1)[1], basic
        self.path = f"/oauth/status-lists/{self.id}"

    def revoke(self, positions):
        database, now = sqlite3.connect(f"{self.issuer.folder}/sealwright.db", timeout=30), int(time.time())
        with database:
            database.execute("UPDATE epochs SET n = n + 1 WHERE kind = 'revocations'")
            (epoch,) = database.execute("SELECT n FROM epochs WHERE kind = 'revocations'").fetchone()
            rows = [(epoch, self.id, position, 1, now, now + 86_400) for position in positions]
            database.executemany("INSERT INTO revocations (epoch, list_id, start, width, revoked_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)", rows)
        database.close()


def metric(issuer, name):
    text = urllib.request.urlopen(issuer.metrics).read().decode()
    return float(re.search(rf"^{name} (\S+)", text, re.M)[1])


def latencies(status_list):
    """The milliseconds of each request, while a token is revoked every second."""
    over = threading.Event()

    def revoke():
        while not over.wait(1):
            status_list.revoke([random.randrange(POSITIONS)])

    worker = threading.Thread(target=revoke)
    worker.start()
    connection, figures, until = http.client.HTTPConnection(status_list.issuer.address), [], time.monotonic() + SECONDS
    try:
        while time.monotonic() < until:
            begun = time.perf_counter()
            connection.request("GET", status_list.path)
            answer = connection.getresponse()
            body = answer.read()
            figures.append((time.perf_counter() - begun) * 1000)
            assert answer.status == 200 and body.count(b".") == 2, answer.status
            time.sleep(PAUSE)
    finally:
        over.set()
        worker.join()
    return sorted(figures)


def shown(figures):
    p = lambda part: figures[min(int(len(figures) * part), len(figures) - 1)]
    return f"{len(figures):,} requests, p50 {p(0.5):.2f} ms, p99 {p(0.99):.2f} ms, max {figures[-1]:.2f} ms"


def measure(issuer, status_list, what):
    signed = metric(issuer, "sealwright_status_lists_signed_total")
    figures = latencies(status_list)
    signed = metric(issuer, "sealwright_status_lists_signed_total") - signed
    print(f"{what}: {shown(figures)}; {signed:.0f} lists signed in {SECONDS} s")
    return figures


with served(sys.argv[1]) as issuer:
    secrets = issuer.create_clients([])
    status_list = List(issuer, "first", secrets["first"])
    time.sleep(2)
    measure(issuer, status_list, "idle")

    script = f"{issuer.folder}/tokens.lua"
    with open(script, "w") as file:
        file.write(SCRIPT % status_list.basic)
    wrk = ["wrk", "-t1", "-c256", f"-d{SECONDS + 3}s", "-s", script, f"http://{issuer.address}/oauth/token"]
    with subprocess.Popen(wrk, stdout=subprocess.PIPE, text=True) as load:
        time.sleep(2)
        figures = measure(issuer, status_list, "saturated")
        out, _ = load.communicate()
    requests = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])
    refused = int((re.search(r"Non-2xx or 3xx responses: (\d+)", out) or [0, 0])[1])
    print(f"saturated: {requests:,.0f} token requests/s, {refused:,} refused (more than 0 wanted); p99 under 5 ms wanted")

    positions, done = random.sample(range(POSITIONS), POSITIONS), 0
    for wanted in [1_000, 10_000, 100_000, 500_000]:
        status_list.revoke(positions[done:wanted])
        done = wanted
        time.sleep(3)
        cpu = []
        for changes in [0, 1]:
            before = metric(issuer, "process_cpu_seconds_total"), metric(issuer, "sealwright_status_lists_signed_total")
            for _ in range(10):
                if changes:
                    status_list.revoke([positions[done]])
                    done += 1
                time.sleep(1.1)
            after = metric(issuer, "process_cpu_seconds_total"), metric(issuer, "sealwright_status_lists_signed_total")
            cpu.append((after[0] - before[0], after[1] - before[1]))
        size = len(urllib.request.urlopen(f"http://{issuer.address}{status_list.path}").read())
        (still, _), (busy, signed) = cpu
        print(f"{wanted:,} positions set: {size:,} bytes, {(busy - still) / max(signed, 1) * 1000:.1f} ms of CPU per publication")
