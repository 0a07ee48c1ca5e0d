"""A token from the running server verifies with PyJWT, and nothing else does."""

import json
import sys
import urllib.request

import jwt
from oauthlib.oauth2 import BackendApplicationClient
from requests_oauthlib import OAuth2Session

issuer, client = sys.argv[1], json.load(open(sys.argv[2]))
audience = "https://orders.example"

metadata = json.load(urllib.request.urlopen(issuer + "/.well-known/oauth-authorization-server"))
assert metadata["issuer"] == issuer

session = OAuth2Session(client=BackendApplicationClient(client_id=client["client_id"]))
answer = session.fetch_token(metadata["token_endpoint"], client_id=client["client_id"], client_secret=client["secret"]["value"])
token = answer["access_token"]
assert answer["token_type"] == "Bearer" and sorted(answer["scope"]) == ["orders:read", "orders:write"], answer

keys = jwt.PyJWKClient(metadata["jwks_uri"])
required = {"require": ["iss", "exp", "aud", "sub", "client_id", "iat", "jti", "scope"]}


def verify(token, **changed):
    expected = {"audience": audience, "issuer": issuer, **changed}
    return jwt.decode(token, keys.get_signing_key_from_jwt(token).key, algorithms=["RS256"], options=required, **expected)


claims = verify(token)
assert claims["sub"] == claims["client_id"] == "billing", claims
assert jwt.get_unverified_header(token)["typ"] == "at+jwt"

middle = len(token) - 100
forged = token[:middle] + ("B" if token[middle] == "A" else "A") + token[middle + 1 :]
for changed, error in [
    (lambda: verify(token, audience="https://other.example"), jwt.InvalidAudienceError),
    (lambda: verify(token, issuer="https://other.example"), jwt.InvalidIssuerError),
    (lambda: verify(forged), jwt.InvalidSignatureError),
]:
    try:
        changed()
    except error:
        continue
    raise AssertionError(f"no {error.__name__}")
print(f"PyJWT {jwt.__version__} verifies the token of {issuer}")
