"""Whether the time of one answer tells a client that exists from one that does not (HD8).

    cargo build --release && python3 benches/unknown_clients.py target/release/sealwright [COUNT]

Asks once for each of COUNT (20,000) known and as many unknown ids, none of which is in memory, in random order, with a wrong secret, over
one connection. A threshold is chosen on half of the times and tried on the other: 0.5 is guessing. SQLite, since a network in between would
only hide more. Needs nothing but Python.
"""

import base64
import http.client
import random
import statistics
import sys
import time

from issuer import issuer as served

count = int((sys.argv[2:] or [20_000])[0])


def accuracy(times, other, threshold, sign):
    right = sum(sign * (time - threshold) < 0 for time in times) + sum(sign * (time - threshold) >= 0 for time in other)
    return right / (len(times) + len(other))


with served(sys.argv[1]) as issuer:
    names = [f"client-{random.getrandbits(64):016x}" for _ in range(2 * count)]
    wrong = issuer.create_clients(names[:count])["first"]
    known, unknown = [], []
    order = [(name, known) for name in names[:count]] + [(name, unknown) for name in names[count:]]
    random.shuffle(order)
    connection = http.client.HTTPConnection(issuer.address)
    for name, times in order:
        credentials = base64.b64encode(f"{name}:{wrong}".encode()).decode()
        headers = {"authorization": f"Basic {credentials}", "content-type": "application/x-www-form-urlencoded"}
        began = time.perf_counter()
        connection.request("POST", "/oauth/token", "grant_type=client_credentials", headers)
        answer = connection.getresponse()
        answer.read()
        times.append(time.perf_counter() - began)
        assert answer.status == 401, (answer.status, name)

half = count // 2
thresholds = statistics.quantiles(known[:half] + unknown[:half], n=1000)
choices = [(accuracy(unknown[:half], known[:half], threshold, sign), threshold, sign) for threshold in thresholds for sign in (1, -1)]
_, threshold, sign = max(choices)
figure = accuracy(unknown[half:], known[half:], threshold, sign)
print(f"known {statistics.median(known) * 1e6:.0f} us, unknown {statistics.median(unknown) * 1e6:.0f} us (medians of {count:,} each)")
print(f"single-shot accuracy {figure:.3f} (0.5 is guessing, at most 0.55 wanted)")
sys.exit(figure > 0.55)
