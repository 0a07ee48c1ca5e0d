"""Asks the snippet about each token: a line of JSON in, a line of JSON out."""

import json
import sys

import snippet

for line in sys.stdin:
    asked = json.loads(line)
    answer = {"name": asked["name"]}
    try:
        answer |= {"status": 200, "claims": snippet.check(asked["token"], asked["scope"])}
    except Exception as error:
        answer["error"] = f"{type(error).__name__}: {error}"[:300]
        try:
            answer["status"], answer["headers"] = snippet.refusal(error, asked["scope"])
        except Exception:
            answer |= {"status": 500, "headers": {}}
    print(json.dumps(answer), flush=True)
