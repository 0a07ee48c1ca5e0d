"""Tokens per second, and CPU time per token, of each algorithm that the server signs with, in one run.

    cargo build --release && python3 benches/algorithms.py target/release/sealwright [ROUNDS]

One client requests tokens for four resources, each with its own algorithm. In each of ROUNDS (5) rounds of 5 s per algorithm it counts tokens and
the CPU time of the server's process; the medians are printed with their ratios to RS256. Needs wrk.
"""

import base64
import json
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.parse
import urllib.request

from issuer import issuer as served

ALGORITHMS, SECONDS = ["RS256", "PS256", "ES256", "Ed25519"], 5
rounds = int((sys.argv[2:] or [5])[0])


def resource(algorithm):
    return f"https://{algorithm.lower()}.example"


def cpu_seconds(process):
    """User and system time of all its threads: proc(5), the fields utime and stime of stat."""
    fields = open(f"/proc/{process.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for_key(issuer, basic, algorithm):
    """The first key of an algorithm of a new issuer signs after seconds."""
    form = urllib.parse.urlencode({"grant_type": "client_credentials", "resource": resource(algorithm)}).encode()
    for _ in range(120):
        request = urllib.request.Request(f"http://{issuer.address}/oauth/token", form, {"Authorization": f"Basic {basic}"})
        header = json.load(urllib.request.urlopen(request))["access_token"].split(".")[0]
        if json.loads(base64.urlsafe_b64decode(header + "=="))["alg"] == algorithm:
            return
        time.sleep(0.5)
    sys.exit(f"no token is signed with {algorithm}")


def measure(issuer, script):
    """Tokens per second, and microseconds of CPU time per token."""
    before = cpu_seconds(issuer.process)
    wrk = ["wrk", "-t1", "-c32", f"-d{SECONDS}s", "-s", script, f"http://{issuer.address}/oauth/token"]
    out = subprocess.run(wrk, check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in out, out
    tokens = int(re.search(r"(\d+) requests in", out)[1])
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]), (cpu_seconds(issuer.process) - before) * 1e6 / tokens


with served(sys.argv[1]) as issuer:
    for algorithm in ALGORITHMS:
        issuer.run("resource", "create", resource(algorithm), "--scope", "orders:read", "--alg", algorithm)
    allowed = [flag for algorithm in ALGORITHMS for flag in ["--allow", f"{resource(algorithm)}=orders:read"]]
    created = json.loads(issuer.run("client", "create", "billing", "--grant", "client_credentials", *allowed, "--json"))
    basic = base64.b64encode(f"billing:{created['secret']['value']}".encode()).decode()
    scripts = {}
    for algorithm in ALGORITHMS:
        wait_for_key(issuer, basic, algorithm)
        scripts[algorithm] = f"{issuer.folder}/{algorithm}.lua"
        form = "grant_type=client_credentials&resource=" + urllib.parse.quote(resource(algorithm), safe="")
        with open(scripts[algorithm], "w") as file:
            file.write('wrk.method, wrk.body = "POST", "%s"\n' % form)
            file.write('wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"\n')
            file.write('wrk.headers["Authorization"] = "Basic %s"\n' % basic)
    measure(issuer, scripts["RS256"])
    figures = {algorithm: [] for algorithm in ALGORITHMS}
    for number in range(rounds):
        # The order changes, so that none always comes after the same one.
        for algorithm in ALGORITHMS[number % len(ALGORITHMS) :] + ALGORITHMS[: number % len(ALGORITHMS)]:
            figures[algorithm].append(measure(issuer, scripts[algorithm]))

medians = {algorithm: [statistics.median(column) for column in zip(*figures[algorithm])] for algorithm in ALGORITHMS}
base = medians["RS256"]
print(f"{'':8} {'tokens/s':>9} {'of RS256':>9} {'CPU us per token':>17} {'of RS256':>9}")
for algorithm, (tokens, cpu) in medians.items():
    print(f"{algorithm:8} {tokens:9,.0f} {tokens / base[0]:8.2f}x {cpu:17.0f} {cpu / base[1]:8.2f}x")
