"""requests-oauthlib gets a token from the running server, and PyJWT takes it as the README's snippet does.

What PyJWT refuses is asked by `languages.py`.
"""

import json
import sys
import urllib.request

import jwt
from oauthlib.oauth2 import BackendApplicationClient
from requests_oauthlib import OAuth2Session

issuer, client = sys.argv[1], json.load(open(sys.argv[2]))

metadata = json.load(urllib.request.urlopen(issuer + "/.well-known/oauth-authorization-server"))
assert metadata["issuer"] == issuer

session = OAuth2Session(client=BackendApplicationClient(client_id=client["client_id"]))
answer = session.fetch_token(metadata["token_endpoint"], client_id=client["client_id"], client_secret=client["secret"]["value"])
token = answer["access_token"]
assert answer["token_type"] == "Bearer" and sorted(answer["scope"]) == ["orders:read", "orders:write"], answer

keys = jwt.PyJWKClient(metadata["jwks_uri"])
claims = jwt.decode(token, keys.get_signing_key_from_jwt(token).key, algorithms=["RS256"], issuer=issuer,
                    audience="https://orders.example", options={"require": ["exp", "iat", "sub", "client_id", "scope"]})
assert claims["sub"] == claims["client_id"] == "billing", claims
assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
print(f"requests-oauthlib gets a token of {issuer}, and PyJWT {jwt.__version__} verifies it")
