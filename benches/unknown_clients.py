"""Whether the time of one answer tells a client that exists from one that does not (HD8).

    cargo build --release && python3 benches/unknown_clients.py target/release/sealwright [COUNT]

Asks once for each of COUNT (20,000) known and as many unknown ids, none of which is in memory, in random order, with a wrong secret, over
one connection. A threshold is chosen on half of the times and tried on the other: 0.5 is guessing. SQLite, since a network in between would
only hide more. Needs nothing but Python.
"""

import base64
import http.client
import json
import os
import pathlib
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

program, count = os.path.abspath(sys.argv[1]), int((sys.argv[2:] or [20_000])[0])


def accuracy(times, other, threshold, sign):
    right = sum(sign * (time - threshold) < 0 for time in times) + sum(sign * (time - threshold) >= 0 for time in other)
    return right / (len(times) + len(other))


with tempfile.TemporaryDirectory() as folder:
    environment = {**os.environ, "SEALWRIGHT_MANAGEMENT_LISTEN": "off", "SEALWRIGHT_LISTEN": "127.0.0.1:0"}
    log = pathlib.Path(folder, "log")
    server = subprocess.Popen([program, "serve", "--log-format=json"], cwd=folder, env=environment, stderr=log.open("w"))
    try:
        address = None
        while address is None:
            time.sleep(0.1)
            events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
            address = next((event["listen"] for event in events if event["message"] == "serving"), None)

        def run(*command):
            return subprocess.run([program, *command], cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout

        run("resource", "create", "https://orders.example", "--scope", "orders:read")
        created = json.loads(run("client", "create", "first", "--allow", "https://orders.example=orders:read", "--json"))
        secret = created["secret"]["value"]
        # Rows like those of the client that the command made.
        database = sqlite3.connect(f"{folder}/sealwright.db", timeout=30)
        names = [f"client-{random.getrandbits(64):016x}" for _ in range(2 * count)]
        with database:
            for number, name in enumerate(names[:count]):
                database.execute("INSERT INTO clients SELECT ?, auth_methods, grants, token_lifetime, created_at, disabled_at FROM clients WHERE id = 'first'", [name])
                database.execute("INSERT INTO client_scopes SELECT ?, scope, audience FROM client_scopes WHERE client_id = 'first'", [name])
                database.execute(
                    "INSERT INTO client_secrets (id, client_id, digest, created_at, expires_at, last_used_at) "
                    "SELECT ?, ?, digest, created_at, NULL, NULL FROM client_secrets WHERE client_id = 'first'", [f"{number:016x}", name])
            database.execute("UPDATE epochs SET n = n + 1 WHERE kind = 'registry'")
        database.close()
        time.sleep(2)

        known, unknown = [], []
        order = [(name, known) for name in names[:count]] + [(name, unknown) for name in names[count:]]
        random.shuffle(order)
        connection = http.client.HTTPConnection(address)
        for name, times in order:
            credentials = base64.b64encode(f"{name}:{secret}".encode()).decode()
            headers = {"authorization": f"Basic {credentials}", "content-type": "application/x-www-form-urlencoded"}
            began = time.perf_counter()
            connection.request("POST", "/oauth/token", "grant_type=client_credentials", headers)
            answer = connection.getresponse()
            answer.read()
            times.append(time.perf_counter() - began)
            assert answer.status == 401, (answer.status, name)
    finally:
        server.terminate()
        server.wait()

half = count // 2
thresholds = statistics.quantiles(known[:half] + unknown[:half], n=1000)
choices = [(accuracy(unknown[:half], known[:half], threshold, sign), threshold, sign) for threshold in thresholds for sign in (1, -1)]
_, threshold, sign = max(choices)
figure = accuracy(unknown[half:], known[half:], threshold, sign)
print(f"known {statistics.median(known) * 1e6:.0f} us, unknown {statistics.median(unknown) * 1e6:.0f} us (medians of {count:,} each)")
print(f"single-shot accuracy {figure:.3f} (0.5 is guessing, at most 0.55 wanted)")
sys.exit(figure > 0.55)
