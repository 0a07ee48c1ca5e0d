"""A small API with PyJWT, set up right, or with one hole: api.py HOLE. It prints the port on which it listens."""

import json
import os
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt

ISSUER, AUDIENCE, HOLE = os.environ["ISSUER"], os.environ["AUDIENCE"], sys.argv[1]
SCOPE = "orders:read"
keys = jwt.PyJWKClient(ISSUER + "/.well-known/jwks.json", timeout=5)


def key_of(token):
    header = jwt.get_unverified_header(token)
    if HOLE == "jku" and "jku" in header:
        with urllib.request.urlopen(header["jku"], timeout=5) as answer:
            return jwt.PyJWK(json.load(answer)["keys"][0])
    return keys.get_signing_key_from_jwt(token)


def check(token):
    options = {"require": ["exp", "iat", "sub", "client_id", "jti"]}
    leeway, audience = 30, AUDIENCE
    if HOLE == "not-verified":
        options["verify_signature"] = False
        options |= {"verify_exp": True, "verify_aud": True, "verify_iss": True, "verify_nbf": True}
    if HOLE == "no-audience":
        options["verify_aud"], audience = False, None
    if HOLE == "no-expiry":
        options |= {"verify_exp": False, "require": ["iat", "sub", "client_id", "jti"]}
    if HOLE == "leeway":
        leeway = 290
    key = None if HOLE == "not-verified" else key_of(token)
    decoded = jwt.decode_complete(token, key, algorithms=["RS256"], issuer=ISSUER, audience=audience, leeway=leeway, options=options)
    claims = decoded["payload"]
    if decoded["header"].get("typ") != "at+jwt" or "crit" in decoded["header"]:
        raise jwt.InvalidTokenError("typ")
    if "cnf" in claims:
        raise jwt.InvalidTokenError("bound")
    granted = claims.get("scope")
    if HOLE == "part-of-scope":
        found = SCOPE in str(granted)
    else:
        found = isinstance(granted, str) and SCOPE in granted.split(" ")
    if not found:
        raise PermissionError("insufficient_scope")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        status, challenge = 200, None
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if self.path.partition("?")[0] != "/orders":
            status = 404
        elif scheme.lower() != "bearer":
            status, challenge = 401, "Bearer"
        else:
            try:
                check(token)
            except PermissionError:
                status, challenge = 403, 'Bearer error="insufficient_scope"'
            except (jwt.PyJWKClientConnectionError, jwt.PyJWKSetError, OSError):
                status = 503
            except (jwt.InvalidTokenError, jwt.PyJWKClientError, RecursionError, ValueError):
                status, challenge = 401, 'Bearer error="invalid_token"'
        body = b"all orders" if status == 200 else b""
        self.send_response(status)
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_OPTIONS = do_GET

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
