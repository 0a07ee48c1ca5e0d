"""requests-oauthlib gets a token from the running server, and PyJWT accepts it with the snippet of the documentation.

What PyJWT refuses is asked by `languages.py`.
"""

import json
import re
import sys
import urllib.request
from datetime import datetime, timedelta
from pathlib import Path

import jwt
import jwt.api_jwt
from oauthlib.oauth2 import BackendApplicationClient
from requests_oauthlib import OAuth2Session

issuer, client = sys.argv[1], json.load(open(sys.argv[2]))

metadata = json.load(urllib.request.urlopen(issuer + "/.well-known/oauth-authorization-server"))
assert metadata["issuer"] == issuer

session = OAuth2Session(client=BackendApplicationClient(client_id=client["client_id"]))
answer = session.fetch_token(metadata["token_endpoint"], client_id=client["client_id"], client_secret=client["secret"]["value"])
token = answer["access_token"]
assert answer["token_type"] == "Bearer" and sorted(answer["scope"]) == ["orders:read", "orders:write"], answer

# The lines of the documentation, except for the issuer.
readme = (Path(__file__).parents[2] / "README.md").read_text()
(snippet,) = [block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "PyJWKClient" in block]
exec(snippet.replace("http://localhost:8080", issuer))
claims = check(token, "orders:read")
assert claims["sub"] == claims["client_id"] == "billing", claims
narrow = session.fetch_token(metadata["token_endpoint"], client_id=client["client_id"], client_secret=client["secret"]["value"],
                             scope="orders:read")["access_token"]
assert check(narrow, "orders:read")["scope"] == "orders:read"
wrong_ones = [
    ((token, "orders:delete"), PermissionError),
    ((narrow, "orders:write"), PermissionError),
    ((token[:-9] + token[-8:], "orders:read"), jwt.InvalidTokenError),
]
for wrong, error in wrong_ones:
    try:
        check(*wrong)
    except error:
        continue
    raise AssertionError(f"{wrong[1]} was let through")


class Behind(datetime):
    """The clock of an API that is 10 s behind the issuer's."""

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) - timedelta(seconds=10)


jwt.api_jwt.datetime = Behind
check(token, "orders:read")
print(f"requests-oauthlib gets a token of {issuer}, and PyJWT {jwt.__version__} verifies it")
