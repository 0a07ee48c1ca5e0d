"""slowhttptest: callers that send or read slowly on purpose, to hold connections."""
# needs: slowhttptest=slowhttptest

import base64
import csv
import http.client
import subprocess
import tempfile
import time

from targets import guarded, served
from world import load, ms, percentile, until

CONNECTIONS = 1000
# For how long an attack lasts, in seconds: longer than a header or a body may take.
DURATION = 40
# All attackers are of one source. This is another one.
GOOD_SOURCE = ("127.0.0.2", 0)
# Between requests of a good caller, in seconds.
PACE = 0.05
# How many good callers there are.
GOOD = 2
# Within what time 90 % of the good callers must have their answers, in seconds. Without an attack, it is some hundredths. The slowest depend on
# the machine: where other programs take both cores at a higher priority, they take 20 s.
LIMIT = 2
# How long slowhttptest waits for the answer to its own good request before it takes the service for unavailable, in seconds.
PATIENCE = 20
# How many connections one source may have by default, and how many more may be closing.
PER_SOURCE, LEAVING = 256, 64

# The attacks in which slowhttptest finds that the service is not available to the source of the attackers, and why that stands.
OWN_SOURCE = {
    "slow readers, forwarded": "All connections of their source are in use: for answers of the API that are being read, however slowly. "
    "Callers behind the same address are limited together. Every other source is served.",
}

HEADERS = ["-H", "-i", "5", "-x", "24"]
BODIES = ["-B", "-i", "5", "-s", "8192", "-x", "10", "-t", "POST"]
RANGES = ["-R", "-a", "10", "-b", "3000"]
READS = ["-X", "-w", "1", "-y", "1", "-n", "5", "-z", "1", "-k", "3"]


def attack(url, *kind):
    """Returns for how many seconds slowhttptest found the service available, as a caller of the attackers' source, and for how many it did not."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["slowhttptest", *kind, "-c", str(CONNECTIONS), "-r", "200", "-l", str(DURATION), "-p", str(PATIENCE), "-g",
                   "-o", f"{folder}/report", "-u", url]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DURATION + 300)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        with open(f"{folder}/report.csv") as report:
            seconds = list(csv.DictReader(report))
    assert any(int(second["Connected"]) > 0 for second in seconds), "nothing was attacked"
    available = sum(int(second["Service Available"]) > 0 for second in seconds)
    return available, len(seconds) - available


def during(open_connections, ask, what, attacked, *kind):
    """Attacks, and requires that a caller of another source gets all its answers, most of them at once, that the source of the attackers has no more
    than its share of the connections, and that none of them stays."""

    def work():
        began = time.monotonic()
        status = ask()
        took = time.monotonic() - began
        most.append(open_connections())
        time.sleep(PACE)
        return status, took

    most = []
    with load(work, GOOD) as (answers, errors):
        available, not_available = attack(attacked, *kind)
    assert not errors, (len(errors), errors[:3])
    assert {status for status, _ in answers} == {200}, {status for status, _ in answers}
    # The attackers, the good callers, and those that are closing.
    assert max(most) <= PER_SOURCE + GOOD + LEAVING, f"{max(most):.0f} connections"
    until(lambda: open_connections() == 0, 300, "no connection stays")
    assert bool(not_available) == (what in OWN_SOURCE), f"{what}: to their own source, {not_available} s not available"
    took = [took for _, took in answers]
    assert percentile(took, 0.9) < LIMIT, f"{what}: p90 {ms(percentile(took, 0.9))}"
    own = f"; to the attackers' own source not available for {not_available} of {available + not_available} s" if not_available else ""
    return f"{what}: {len(took)} good requests, p99 {ms(percentile(took, 0.99))}, at most {max(most):.0f} connections{own}"


def asker(address, method, path, body=None, headers=None):
    """A request by the good source, each over its own connection."""

    def ask():
        connection = http.client.HTTPConnection(*address, timeout=60, source_address=GOOD_SOURCE)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()

    return ask


def slowhttptest_leaves_the_server_to_every_other_source(program):
    """Slow headers, bodies and readers, and many ranges: a caller of another source gets a token each time."""
    with served(program) as server:
        url = f"http://127.0.0.1:{server.address[1]}"
        basic = base64.b64encode(f"shop:{server.secrets['shop']}".encode()).decode()
        form = {"authorization": f"Basic {basic}", "content-type": "application/x-www-form-urlencoded"}
        ask = asker(server.address, "POST", "/oauth/token", "grant_type=client_credentials", form)
        attacks = [
            ("slow headers", f"{url}/oauth/token", *HEADERS),
            ("slow bodies", f"{url}/oauth/token", *BODIES),
            ("ranges", f"{url}/openapi.json", *RANGES),
            ("slow readers", f"{url}/openapi.json", *READS),
        ]
        return "; ".join(during(lambda: server.metric("sealwright_connections"), ask, *attack) for attack in attacks)


def slowhttptest_leaves_the_guard_to_every_other_source(program):
    """The same at a path that needs a token, and with requests that are forwarded: a caller with a token gets its answers each time."""
    with guarded(program) as (started, token):
        host, port = started.address.split(":")
        ask = asker((host, int(port)), "GET", "/orders/1", headers={"authorization": f"Bearer {token}"})
        attacks = [
            ("slow headers", f"{started.url}/orders/1", *HEADERS),
            ("slow bodies, refused", f"{started.url}/orders/1", *BODIES),
            ("slow bodies, forwarded", f"{started.url}/public/body", *BODIES),
            ("slow readers, forwarded", f"{started.url}/public/large", *READS),
        ]

        def open_connections():
            line = next(line for line in started.metrics().splitlines() if line.startswith("sealwright_guard_connections "))
            return float(line.rpartition(" ")[2])

        return "; ".join(during(open_connections, ask, *attack) for attack in attacks)
