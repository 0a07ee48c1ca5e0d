"""What a client with a key costs beside one with a secret: CPU time of the server per token by client credentials, in turn, in one run.

    cargo build --release && python3 benches/assertions.py target/release/sealwright [DATABASE_URL]

Needs wrk, and the package cryptography. Tokens and assertions are signed by ES256. The database must be empty; without one, it is SQLite.
"""

import json
import statistics
import sys
import time
import urllib.parse
import uuid
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

import driver
from issuer import base64url, basic, issuer as served

# More assertions than the server can answer in that time: each is used once.
ROUNDS, SECONDS, CONNECTIONS, ASSERTIONS = 5, 2, 64, 40_000
RESOURCE, GRANT = "https://orders.example", "grant_type=client_credentials"
KIND = urllib.parse.quote("urn:ietf:params:oauth:client-assertion-type:jwt-bearer", safe="")


def assertion(key, kid, issuer):
    now = int(time.time())
    claims = {"iss": "key", "sub": "key", "aud": issuer, "iat": now, "exp": now + 600, "jti": uuid.uuid4().hex}
    message = ".".join(base64url(json.dumps(part).encode()) for part in [{"alg": "ES256", "kid": kid}, claims])
    r, s = utils.decode_dss_signature(key.sign(message.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{message}.{base64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


settings = {"SEALWRIGHT_DATABASE_URL": sys.argv[2]} if sys.argv[2:] else {}
with served(sys.argv[1], settings) as issuer:
    issuer.run("resource", "create", RESOURCE, "--scope", "orders:read", "--alg", "ES256")
    create = ["client", "create", "--grant", "client_credentials", "--allow", f"{RESOURCE}=orders:read", "--json"]
    by_secret = basic("secret", json.loads(issuer.run(*create, "secret"))["secret"]["value"])
    kid = json.loads(issuer.run(*create, "key", "--key", "key.pem"))["keys"][0]["kid"]
    key = serialization.load_pem_private_key(Path(issuer.folder, "key.pem").read_bytes(), None)
    issuer.wait_for_key(by_secret, RESOURCE, "ES256")

    def microseconds(requests):
        return driver.measure(issuer, driver.in_turn(issuer.folder, requests), SECONDS, CONNECTIONS)["cpu"]

    rounds = []
    for _ in range(ROUNDS):
        secret = microseconds([driver.Request("POST", "/oauth/token", by_secret, GRANT)])
        signed = (f"{GRANT}&client_assertion_type={KIND}&client_assertion={assertion(key, kid, issuer.url)}" for _ in range(ASSERTIONS))
        rounds.append((secret, microseconds([driver.Request("POST", "/oauth/token", form=form) for form in signed])))
        print("secret {:.0f} us, key {:.0f} us".format(*rounds[-1]), flush=True)
print(f"key / secret: {statistics.median(key / secret for secret, key in rounds):.2f} (median of {ROUNDS})")
