"""Asks the snippet whether tokens are revoked, by their claims: a line of JSON in, a line of JSON out."""

import json
import sys

import snippet

for line in sys.stdin:
    asked = json.loads(line)
    answer = {"name": asked["name"]}
    try:
        answer["revoked"] = snippet.is_revoked(asked["claims"])
    except Exception as error:
        answer["error"] = f"{type(error).__name__}: {error}"[:300]
    print(json.dumps(answer), flush=True)
