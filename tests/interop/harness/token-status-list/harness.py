"""Asks the snippet whether tokens are revoked, by their claims: a line of JSON in, a line of JSON out. `ahead` sets its clock forward, in seconds."""

import json
import sys
import time

import snippet

now, ahead = time.time, 0
time.time = lambda: now() + ahead

for line in sys.stdin:
    asked = json.loads(line)
    ahead = asked.get("ahead", 0)
    answer = {"name": asked["name"]}
    try:
        answer["revoked"] = snippet.is_revoked(asked["claims"])
    except Exception as error:
        answer["error"] = f"{type(error).__name__}: {error}"[:300]
    print(json.dumps(answer), flush=True)
