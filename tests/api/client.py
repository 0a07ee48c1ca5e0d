"""Uses the client that is generated from the description: tokens by every grant, with both authentication methods."""

import base64
import json
import sys

from generated import AuthenticatedClient, Client
from generated.api.discovery import get_keys, get_metadata
from generated.api.tokens import introspect_token, issue_token, revoke_token
from generated.models import (
    ClientCredentialsRequest, Error, IntrospectionRequest, PasswordRequest, RefreshTokenRequest, RevocationRequest, TokenResponse,
)

issuer, credentials, password = sys.argv[1:]
with open(credentials) as file:
    client_id, secret = (lambda shown: (shown["client_id"], shown["secret"]["value"]))(json.load(file))
basic = AuthenticatedClient(issuer, token=base64.b64encode(f"{client_id}:{secret}".encode()).decode(), prefix="Basic")


def token(client, body):
    answer = issue_token.sync(client=client, body=body)
    assert isinstance(answer, TokenResponse), answer
    assert answer.token_type == "Bearer" and answer.expires_in == 600 and answer.access_token.count(".") == 2, answer
    return answer


own = token(basic, ClientCredentialsRequest("client_credentials", scope="orders:write"))
assert own.scope == "orders:write" and not own.refresh_token

# The credentials in the form.
form = {"client_id": client_id, "client_secret": secret}
assert token(Client(issuer), ClientCredentialsRequest("client_credentials", **form)).scope == "orders:read orders:write"

first = token(basic, PasswordRequest("password", username="alice", password=password))
assert first.scope == "orders:read" and first.refresh_token
second = token(basic, RefreshTokenRequest("refresh_token", refresh_token=first.refresh_token))
assert second.refresh_token and second.refresh_token != first.refresh_token

introspected = introspect_token.sync(client=basic, body=IntrospectionRequest(second.access_token))
assert (introspected.active, introspected.username, introspected.scope) == (True, "alice", "orders:read"), introspected
revoked = revoke_token.sync_detailed(client=basic, body=RevocationRequest(second.refresh_token))
assert (revoked.status_code, revoked.content) == (200, b""), revoked
refused = issue_token.sync(client=basic, body=RefreshTokenRequest("refresh_token", refresh_token=second.refresh_token))
assert isinstance(refused, Error) and refused.error == "invalid_grant", refused

introspected = introspect_token.sync(client=basic, body=IntrospectionRequest(second.access_token))
assert introspected.to_dict() == {"active": False}, introspected

header = json.loads(base64.urlsafe_b64decode(own.access_token.split(".")[0] + "=="))
assert header["kid"] in [key.kid for key in get_keys.sync(client=Client(issuer)).keys]
assert get_metadata.sync(client=Client(issuer)).issuer == issuer
print("tokens by 3 grants and 2 ways of authenticating, a sign-out, introspection before and after, the keys, the metadata")
