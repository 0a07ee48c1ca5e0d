"""A small API that only trusted apps and signed-in users may call, in FastAPI. PyJWT checks the tokens; what it would let through is refused here.

    pip install -r requirements.txt
    ISSUER=http://localhost:8080 AUDIENCE=https://orders.example uvicorn orders:app --port 8090

GET /orders needs the scope orders:read, POST /orders needs orders:write. Tokens are checked with the cached keys of the issuer.
"""

import os
import time
from collections import deque
from typing import Annotated

import jiter
import jwt
from fastapi import Depends, FastAPI, HTTPException, Request
from jwt.utils import base64url_decode, base64url_encode
from pydantic import BaseModel, ConfigDict, Field, ValidationError

ISSUER, AUDIENCE = os.environ["ISSUER"], os.environ["AUDIENCE"]
ALGORITHM = "RS256"  # the API's own choice; never the token's
LEEWAY_SECONDS = 30  # by how much the clocks of the issuer and of this API may differ
MAX_TOKEN, MAX_BODY, MAX_ORDERS = 16 * 1024, 64 * 1024, 10_000

Text = Annotated[str, Field(min_length=1)]
Seconds = Annotated[int, Field(gt=0, lt=2**53)]


class KeysUnavailable(Exception):
    """The issuer is down, or its answer is not a key set. The token may be valid."""


class Keys(jwt.PyJWKClient):
    """The issuer's keys. PyJWT caches them for 5 minutes; an unknown kid causes at most one fetch in 30 s, while the issuer is down one in 10 s."""

    next_fetch = 0

    def fetch_data(self):
        # While the issuer is down, PyJWT would fetch for each token, and hold up all others meanwhile.
        if time.monotonic() < self.next_fetch:
            raise KeysUnavailable
        self.next_fetch = time.monotonic() + 10
        return super().fetch_data()

    def get_signing_keys(self, refresh=False):
        try:
            keys = super().get_signing_keys(refresh)
        except Exception as error:
            raise KeysUnavailable from error
        # PyJWT also takes keys without a `use`, and does not read the `key_ops` that say what these are for.
        return [key for key in keys if key.public_key_use == "sig"]


KEYS = Keys(ISSUER + "/.well-known/jwks.json", timeout=5, lifespan=300, cooldown_duration=30)


class Header(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")
    kid: Text
    typ: str


class Claims(BaseModel):
    """The claims of an access token (RFC 9068 section 2.2): which must be there, and their types. PyJWT checks the times, iss and aud."""

    model_config = ConfigDict(strict=True, extra="allow")
    sub: Text
    client_id: Text
    jti: Text
    exp: Seconds
    iat: Seconds
    nbf: Seconds = 1
    scope: str = ""


def decode(part):
    """A part of a token. There is one way to write it: base64url without padding and line breaks. PyJWT checks that of the signature."""
    decoded = base64url_decode(part)
    if base64url_encode(decoded).decode() != part:
        raise ValueError("not base64url")
    return decoded


def read(part, model):
    """A part as an object: UTF-8, without duplicate members and deep nesting, which readers could take for different things."""
    return model.model_validate(jiter.from_json(decode(part), catch_duplicate_keys=True, allow_inf_nan=False))


def check(token):
    """The claims of a valid access token."""
    if len(token) > MAX_TOKEN:
        raise ValueError("too large")
    header, claims, _ = token.split(".")
    header, claims = read(header, Header), read(claims, Claims)
    # An ID token has another typ. PyJWT refuses crit and b64, and ignores zip.
    if header.typ != "at+jwt" or "zip" in header.model_extra:
        raise ValueError("not an access token")
    # A token with cnf is valid only with proof of possession of a key.
    if "cnf" in claims.model_extra:
        raise ValueError("bound to a key")
    jwt.decode(token, KEYS.get_signing_key(header.kid), algorithms=[ALGORITHM], issuer=ISSUER, audience=AUDIENCE, leeway=LEEWAY_SECONDS)
    return claims


def caller(scope):
    """The claims of the request's token, which carries the scope."""

    def authorized(request: Request) -> Claims:
        sent = request.headers.getlist("authorization")
        if len(sent) > 1:
            raise HTTPException(400, "two Authorization headers", {"WWW-Authenticate": 'Bearer error="invalid_request"'})
        scheme, _, token = "".join(sent).partition(" ")
        if scheme.lower() != "bearer":
            raise HTTPException(401, "send a token: Authorization: Bearer ...", {"WWW-Authenticate": "Bearer"})
        try:
            claims = check(token)
        except KeysUnavailable:
            raise HTTPException(503, "try again; the token may be valid", {"Retry-After": "10"})
        except (ValueError, jwt.PyJWTError):
            raise HTTPException(401, "the token is not valid", {"WWW-Authenticate": 'Bearer error="invalid_token"'})
        if scope not in claims.scope.split(" "):
            raise HTTPException(403, f"the token lacks {scope}", {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'})
        return claims

    return Depends(authorized)


class NewOrder(BaseModel):
    item: Annotated[str, Field(min_length=1, max_length=200)]


# Without openapi_url: its pages would be open to everyone.
app = FastAPI(openapi_url=None)
orders = deque(maxlen=MAX_ORDERS)


@app.get("/orders")
def list_orders(claims: Annotated[Claims, caller("orders:read")]):
    return [order for order in tuple(orders) if order["owner"] == claims.sub]


# The body is read here and not declared as a parameter: FastAPI reads a declared one before the token is checked.
@app.post("/orders", status_code=201)
async def create_order(claims: Annotated[Claims, caller("orders:write")], request: Request):
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise HTTPException(413)
    try:
        new = NewOrder.model_validate_json(body)
    except ValidationError:
        raise HTTPException(422, 'send an order: {"item": "tea"}')
    order = {"item": new.item, "owner": claims.sub}
    orders.append(order)
    return order
