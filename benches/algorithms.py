"""Tokens per second, and CPU time per token, of each algorithm that the server signs with, in one run.

    cargo build --release && python3 benches/algorithms.py target/release/sealwright [ROUNDS]

One client requests tokens for four resources, each with its own algorithm. In each of ROUNDS (5) rounds of 5 s per algorithm it counts tokens and
the CPU time of the server's process; the medians are printed with their ratios to RS256. Needs wrk.
"""

import json
import re
import statistics
import subprocess
import sys
import urllib.parse

from issuer import basic, issuer as served
from rounds import order_of_round

ALGORITHMS, SECONDS = ["RS256", "PS256", "ES256", "Ed25519"], 5
rounds = int((sys.argv[2:] or [5])[0])


def resource(algorithm):
    return f"https://{algorithm.lower()}.example"


def measure(issuer, script):
    """Tokens per second, and microseconds of CPU time per token."""
    before = issuer.cpu_seconds()
    wrk = ["wrk", "-t1", "-c32", f"-d{SECONDS}s", "-s", script, f"http://{issuer.address}/oauth/token"]
    out = subprocess.run(wrk, check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in out, out
    tokens = int(re.search(r"(\d+) requests in", out)[1])
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]), (issuer.cpu_seconds() - before) * 1e6 / tokens


with served(sys.argv[1]) as issuer:
    for algorithm in ALGORITHMS:
        issuer.run("resource", "create", resource(algorithm), "--scope", "orders:read", "--alg", algorithm)
    allowed = [flag for algorithm in ALGORITHMS for flag in ["--allow", f"{resource(algorithm)}=orders:read"]]
    created = json.loads(issuer.run("client", "create", "billing", "--grant", "client_credentials", *allowed, "--json"))
    authorization = basic("billing", created["secret"]["value"])
    scripts = {}
    for algorithm in ALGORITHMS:
        issuer.wait_for_key(authorization, resource(algorithm), algorithm)
        form = "grant_type=client_credentials&resource=" + urllib.parse.quote(resource(algorithm), safe="")
        scripts[algorithm] = issuer.wrk_script(algorithm, authorization, form)
    measure(issuer, scripts["RS256"])
    figures = {algorithm: [] for algorithm in ALGORITHMS}
    for number in range(rounds):
        for algorithm in order_of_round(ALGORITHMS, number):
            figures[algorithm].append(measure(issuer, scripts[algorithm]))

medians = {algorithm: [statistics.median(column) for column in zip(*figures[algorithm])] for algorithm in ALGORITHMS}
base = medians["RS256"]
print(f"{'':8} {'tokens/s':>9} {'of RS256':>9} {'CPU us per token':>17} {'of RS256':>9}")
for algorithm, (tokens, cpu) in medians.items():
    print(f"{algorithm:8} {tokens:9,.0f} {tokens / base[0]:8.2f}x {cpu:17.0f} {cpu / base[1]:8.2f}x")
