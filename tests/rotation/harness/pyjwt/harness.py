"""Verifies each token of standard input with PyJWT: a line `NUMBER TOKEN` in, a line `NUMBER ACCEPTED REFUSED REASON` out."""

import os
import sys

import jwt

divisor = int(os.environ["DIVISOR"])
# The defaults of PyJWKClient. Compressed, a set is cached for a second at least.
rule = {"lifespan": max(300 / divisor, 1), "cooldown_duration": 30 / divisor} if divisor > 1 else {}
keys = jwt.PyJWKClient(os.environ["JWKS_URI"], timeout=5, **rule)
checked = {"algorithms": ["RS256"], "issuer": os.environ["ISSUER"], "audience": os.environ["AUDIENCE"], "leeway": 30}

for line in sys.stdin:
    number, token = line.split()
    try:
        jwt.decode(token, keys.get_signing_key_from_jwt(token), **checked)
        answer = "1 0"
    except Exception as error:
        answer = f"0 1 {type(error).__name__}: {error}".replace("\n", " ")
    print(number, answer, flush=True)
