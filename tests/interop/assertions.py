"""PK1: libraries of other languages authenticate by private_key_jwt, each used as its documentation says, and each assertion once.

usage: assertions.py PROGRAM ISSUER WORK_FOLDER

Authlib and requests-oauth2client take the token endpoint as the audience unless they are given the issuer: as they stand, they are refused (RFC 7523bis). The
private keys are those of `client create --key`, and of `client add-key --generate` for the other algorithms.
"""

import json
import shutil
import sys
from pathlib import Path

import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import ECKey, OKPKey, RSAKey
from jwskate import Jwk
from requests_oauth2client import InvalidClient, OAuth2Client, PrivateKeyJwt

from languages import Failure
from programs import run

HARNESS = Path(__file__).parent / "harness/openid-client"
ALGORITHMS = ["ES256", "RS256", "PS256", "Ed25519"]


def by_authlib(endpoint, client, pem, algorithm, audience):
    # A text is read as an RSA key.
    kind = {"ES256": ECKey, "Ed25519": OKPKey}.get(algorithm, RSAKey)
    session = OAuth2Session(client, kind.import_key(pem), token_endpoint_auth_method="private_key_jwt")
    session.register_client_auth_method(PrivateKeyJWT(audience, alg=algorithm))
    return session.fetch_token(endpoint, grant_type="client_credentials")["access_token"]


def by_requests_oauth2client(endpoint, client, pem, algorithm, audience):
    # The id that the server has.
    key = Jwk.from_pem(pem).with_kid_thumbprint()
    # It knows Ed25519 by its older name.
    proof = PrivateKeyJwt(client, key, alg="EdDSA" if algorithm == "Ed25519" else algorithm, aud=audience)
    # The issuer of this test is on this machine.
    return OAuth2Client(endpoint, auth=proof, testing=True).client_credentials().access_token


def refused(action):
    try:
        action()
    except InvalidClient:
        return True
    except Exception as error:                                      # Authlib has one class for all error codes.
        return "invalid_client" in str(error)
    return False


def main(program, issuer, work):
    work.mkdir()
    metadata = requests.get(f"{issuer}/.well-known/oauth-authorization-server", timeout=10).json()
    endpoint = metadata["token_endpoint"]
    files = {"ES256": work / "ES256.pem"}
    create = ["client", "create", "robot", "--grant", "client_credentials", "--allow", "https://orders.example=orders:read"]
    run(work.parent, program, *create, "--key", files["ES256"])
    for algorithm in ALGORITHMS[1:]:
        files[algorithm] = work / f"{algorithm}.pem"
        run(work.parent, program, "client", "add-key", "robot", files[algorithm], "--generate", "--alg", algorithm)
    count = 0
    for algorithm, file in files.items():
        pem = file.read_text()
        for get in [by_authlib, by_requests_oauth2client]:
            for _ in range(2):
                if not get(endpoint, "robot", pem, algorithm, issuer):
                    raise Failure(f"{get.__name__} got no token by {algorithm}")
                count += 1
            if not refused(lambda: get(endpoint, "robot", pem, algorithm, endpoint)):
                raise Failure(f"{get.__name__} got a token by {algorithm} for the audience {endpoint}")
    shutil.copytree(HARNESS, work / "openid-client")
    run(work / "openid-client", "npm", "ci", "--silent", "--no-audit", "--no-fund")
    for algorithm, file in files.items():
        answers = json.loads(run(work / "openid-client", "node", "harness.mjs", issuer, "robot", file, algorithm))
        if answers != ["token", "token", "revoked"]:
            raise Failure(f"openid-client by {algorithm}: {answers}")
        count += 2
    print(f"pk1 assertions of Authlib, requests-oauth2client and openid-client: {count} tokens by {', '.join(ALGORITHMS)}")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
    except Failure as failure:
        sys.exit(f"tests/interop/assertions.py: {failure}")
