"""A checker for nginx's auth_request, with PyJWT: the signature, the issuer, the audience, the time and the scope, as the guard's rule needs.

It is an ASGI application without a framework, and keeps the keys for ever, because both are faster than what one would operate. It knows no status
list, so it accepts revoked tokens.
"""

import os

import jwt

ISSUER, AUDIENCE = os.environ["CHECKER_ISSUER"], os.environ["CHECKER_AUDIENCE"]
keys = jwt.PyJWKClient(f"{ISSUER}/.well-known/jwks.json", cache_keys=True)
REQUIRED = {"require": ["exp", "iat", "sub"]}


def allows(headers):
    scheme, _, token = next((value for name, value in headers if name == b"authorization"), b"").decode("latin-1").partition(" ")
    if scheme != "Bearer":
        return False
    try:
        key = keys.get_signing_key_from_jwt(token)
        claims = jwt.decode(token, key, algorithms=["RS256"], issuer=ISSUER, audience=AUDIENCE, options=REQUIRED)
    except jwt.PyJWTError:
        return False
    return "orders:read" in claims["scope"].split()


async def app(scope, receive, send):
    status = 200 if allows(scope["headers"]) else 401
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})
