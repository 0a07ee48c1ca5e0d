"""What a position in a status list costs a token: CPU time of the server per token with status lists and without, in one run.

    cargo build --release && python3 benches/status_cost.py target/release/sealwright [ROUNDS]

Three servers run beside each other: one with status lists, and two without. A client of each requests tokens by client credentials. In each of ROUNDS
(10) rounds per algorithm, each server is under load for 4 s, one after the other, and the tokens and the CPU time of its process are counted. A ratio
is the median of those within a round. That of the two servers without lists shows how exact it is. Takes about 5 minutes. Needs wrk.
"""

import base64
import contextlib
import json
import re
import statistics
import subprocess
import sys
import urllib.parse
import urllib.request

from issuer import basic, issuer as served
from rounds import order_of_round

ALGORITHMS, SECONDS, WANTED = ["RS256", "ES256"], 4, 1.02
# The first is the one that the others are compared with.
SERVERS = {"without": "false", "without, another": "false", "with": "true"}
rounds = int((sys.argv[2:] or [10])[0])


def resource(algorithm):
    return f"https://{algorithm.lower()}.example"


def has_status(issuer, authorization, form):
    """Whether a token names a position in a status list."""
    headers = {"Authorization": authorization, "Content-Type": "application/x-www-form-urlencoded"}
    request = urllib.request.Request(f"http://{issuer.address}/oauth/token", form.encode(), headers)
    token = json.load(urllib.request.urlopen(request))["access_token"]
    return "status" in json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))


def prepare(issuer, lists):
    """The script of each algorithm."""
    for algorithm in ALGORITHMS:
        issuer.run("resource", "create", resource(algorithm), "--scope", "orders:read", "--alg", algorithm)
    allowed = [flag for algorithm in ALGORITHMS for flag in ["--allow", f"{resource(algorithm)}=orders:read"]]
    created = json.loads(issuer.run("client", "create", "billing", "--grant", "client_credentials", *allowed, "--json"))
    authorization, scripts = basic("billing", created["secret"]["value"]), {}
    for algorithm in ALGORITHMS:
        issuer.wait_for_key(authorization, resource(algorithm), algorithm)
        form = "grant_type=client_credentials&resource=" + urllib.parse.quote(resource(algorithm), safe="")
        assert has_status(issuer, authorization, form) == (lists == "true")
        scripts[algorithm] = issuer.wrk_script(algorithm, authorization, form)
    return scripts


def measure(issuer, script):
    """Microseconds of CPU time per token."""
    before = issuer.cpu_seconds()
    wrk = ["wrk", "-t1", "-c32", f"-d{SECONDS}s", "-s", script, f"http://{issuer.address}/oauth/token"]
    out = subprocess.run(wrk, check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in out, out
    return (issuer.cpu_seconds() - before) * 1e6 / int(re.search(r"(\d+) requests in", out)[1])


with contextlib.ExitStack() as stack:
    servers = {name: stack.enter_context(served(sys.argv[1], {"SEALWRIGHT_STATUS_LISTS": lists})) for name, lists in SERVERS.items()}
    scripts = {name: prepare(issuer, SERVERS[name]) for name, issuer in servers.items()}
    names, missed = list(SERVERS), False
    for algorithm in ALGORITHMS:
        for name in names:
            measure(servers[name], scripts[name][algorithm])
        figures = []
        for number in range(rounds):
            order = order_of_round(names, number)
            figures.append({name: measure(servers[name], scripts[name][algorithm]) for name in order})
        for name in names:
            cpu = statistics.median(figure[name] for figure in figures)
            ratio = statistics.median(figure[name] / figure[names[0]] for figure in figures)
            print(f"{algorithm:6} {name:18} {cpu:7.1f} us of CPU per token, ratio {ratio:.4f}", flush=True)
        missed |= algorithm == "RS256" and ratio > WANTED

print(f"a ratio of at most {WANTED} is wanted with RS256, the default algorithm")
sys.exit(missed)
