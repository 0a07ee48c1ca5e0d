"""Asks the snippet about each token: a line of JSON in, a line of JSON out."""

import json
import sys

import snippet

for line in sys.stdin:
    asked = json.loads(line)
    try:
        answer = {"ok": True, "claims": snippet.check(asked["token"])}
    except Exception as error:
        answer = {"ok": False, "error": f"{type(error).__name__}: {error}"[:300]}
    print(json.dumps({"name": asked["name"], **answer}), flush=True)
