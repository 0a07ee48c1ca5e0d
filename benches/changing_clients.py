"""What changes of one client cost the others (OP17).

    cargo build --release && python3 benches/changing_clients.py target/release/sealwright [ROUNDS]

2,000 clients request tokens in turn. In each of ROUNDS (5) pairs of 8 s, one with an unrelated client that is changed every 0.4 s and one
with the same command run as often without a change, it counts tokens, their 99th percentile, and how often the server read a client from the
database. Needs wrk.
"""

import base64
import re
import statistics
import subprocess
import sys
import time

from issuer import issuer as served

CLIENTS, SECONDS, EVERY = 2000, 8, 0.4
rounds = int((sys.argv[2:] or [5])[0])

SCRIPT = """
local headers, next = {}, 0
for _, basic in ipairs({%s}) do
    headers[#headers + 1] = {["Content-Type"] = "application/x-www-form-urlencoded", ["Authorization"] = "Basic " .. basic}
end
request = function()
    next = next %% #headers + 1
    return wrk.format("POST", "/oauth/token", headers[next], "grant_type=client_credentials")
end
"""


def milliseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]


def measure(issuer, script, command):
    """Tokens per second, p99 in ms, and reads of a client, while `command` runs every 0.4 s."""
    before = issuer.client_reads()
    with issuer.repeating(command, EVERY):
        wrk = ["wrk", "-t1", "-c32", f"-d{SECONDS}s", "--latency", "-s", script, f"http://{issuer.address}/oauth/token"]
        out = subprocess.run(wrk, check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in out, out
    p99 = milliseconds(re.search(r"^\s+99%\s+(\S+)$", out, re.M)[1])
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]), p99, issuer.client_reads() - before


with served(sys.argv[1]) as issuer:
    names = [f"client-{number}" for number in range(CLIENTS)]
    secrets = issuer.create_clients(names)
    script = f"{issuer.folder}/tokens.lua"
    basics = [base64.b64encode(f"{name}:{secrets[name]}".encode()).decode() for name in names]
    with open(script, "w") as file:
        file.write(SCRIPT % ",".join(f'"{basic}"' for basic in basics))
    changes = lambda number: ["client", "update", "first", "--token-lifetime", f"{60 + number % 2}s"]
    still = lambda _: ["client", "show", "first"]
    measure(issuer, script, still)
    figures = {changes: [], still: []}
    for number in range(rounds):
        for command in [changes, still] if number % 2 else [still, changes]:
            figures[command].append(measure(issuer, script, command))
            time.sleep(1)

changed, unchanged = ([statistics.median(column) for column in zip(*figures[command])] for command in [changes, still])
print(f"unchanged: {unchanged[0]:,.0f} tokens/s, p99 {unchanged[1]:.1f} ms, {unchanged[2]:.0f} reads of a client in {SECONDS} s")
print(f"changed:   {changed[0]:,.0f} tokens/s, p99 {changed[1]:.1f} ms, {changed[2]:.0f} reads of a client in {SECONDS} s")
print(f"ratio of tokens {changed[0] / unchanged[0]:.3f} (at least 0.97 wanted), of p99 {changed[1] / unchanged[1]:.3f}")
