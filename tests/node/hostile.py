"""Each API of `examples/express` against the tokens of `examples/test_issuer.rs`."""

import contextlib
import functools
import json
import pathlib
import re
import socket
import subprocess

from languages import outages
from processes import AUDIENCE, ROOT, api_behind_guard, api_in_node

PAGE = ROOT / "docs/node.md"
SCOPE = "orders:read"
HEADER = "| the API with | good | without the scope | hostile | accepted |"

# Titles of the page's table, and what to start.
APIS = {
    "`sealwright guard` in front": api_behind_guard,
    "`jose`": lambda _, issuer: api_in_node("api-jose.js", issuer),
    "`express-oauth2-jwt-bearer`": lambda _, issuer: api_in_node("api-oauth2-jwt-bearer.js", issuer),
}


@contextlib.contextmanager
def issuer_of_hostile_tokens(program):
    """Its tokens, and a function that signs one with further claims."""
    example = pathlib.Path(program).parent / "examples/test_issuer"
    assert example.exists(), "cargo build --example test_issuer"
    with subprocess.Popen([example, AUDIENCE, SCOPE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        tokens = json.loads(process.stdout.readline())

        def sign(**claims):
            process.stdin.write(json.dumps(claims) + "\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        try:
            yield tokens, sign
        finally:
            process.stdin.close()  # it runs until then


def ask(port, *lines, method="GET", path="/orders", body=b""):
    """Status and headers. By a socket: HTTP libraries refuse to send what attackers do."""
    head = [f"{method} {path} HTTP/1.1", "Host: orders.example", "Connection: close", f"Content-Length: {len(body)}", *lines]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        # A server may answer and close before it has read a long header.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall("".join(line + "\r\n" for line in [*head, ""]).encode() + body)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while received := connection.recv(65536):
                answer += received
    status, *fields = answer.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    return int(status.split(" ")[1]) if status else 431, headers


def with_token(port, token, **more):
    return ask(port, f"Authorization: Bearer {token}", **more)


def let_through(port, tokens):
    """The hostile tokens that an API accepts as genuine, so that only the scope was left to refuse them; and how many were sent."""
    through, sent = [], 0
    for token in tokens["hostile"]:
        # HTTP cannot carry some as they are, and removes spaces at the end: what arrives would be another token.
        if token["in_header"] in ["impossible", "trimmed"]:
            continue
        status, headers = with_token(port, token["token"])
        sent += 1
        if status in [200, 403]:
            through.append(token)
        else:
            refusals = [400, 401, 431] if len(token["token"]) > 8192 else [400, 401]
            assert status in refusals, f"{token['name']}: {status} {headers}"
            challenge = headers.get("www-authenticate", "")
            assert status != 401 or re.fullmatch(r'Bearer( error="\w+")?(,? ?[\w]+="[ -~]*")*', challenge), f"{token['name']}: {challenge}"
    return through, sent


def figures_of(start, program, tokens, sign, issuer):
    """A line of the table, without the title."""
    with start(program, issuer) as (port, said):
        good = [with_token(port, token["token"])[0] for token in tokens["good"]]
        assert good == [200] * len(good), good
        scopeless = [with_token(port, token["token"]) for token in tokens["without_scope"]]
        for token, (status, headers) in zip(tokens["without_scope"], scopeless):
            assert status == 403, f"{token['name']}: {status}"
            assert 'error="insufficient_scope"' in headers["www-authenticate"], headers
        # One scope of two does not open what needs the other.
        order = functools.partial(with_token, port, method="POST", body=b'{"item":"tea"}')
        json_body = "Content-Type: application/json"
        post = lambda token: ask(port, f"Authorization: Bearer {token}", json_body, method="POST", body=b'{"item":"tea"}')[0]
        assert order(tokens["good"][0]["token"])[0] == 403
        assert post(sign(scope="orders:read orders:write")) == 201
        through, sent = let_through(port, tokens)
        # The refusals have not broken it.
        assert with_token(port, tokens["good"][0]["token"])[0] == 200
        assert not any(token["token"] in said() for token in tokens["good"]), "a token is in the log"
    return f"{len(good)} of {len(good)} | 403 to {len(scopeless)} of {len(scopeless)} | {sent} | {len(through)} |", through


def vf1_vf4_each_api_accepts_good_tokens_and_as_few_hostile_ones_as_the_page_says(program):
    """The table of the page is what is measured here; the guard accepts none."""
    lines, counts = [HEADER, "|---" * 5 + "|"], {}
    with issuer_of_hostile_tokens(program) as (tokens, sign):
        for title, start in APIS.items():
            line, through = figures_of(start, program, tokens, sign, tokens["issuer"])
            lines.append(f"| {title} | {line}")
            counts[title] = len(through)
            for token in through:
                print(f"    {title} accepts {token['code']}: {token['name']}")
    assert counts["`sealwright guard` in front"] == 0, counts
    printed = re.search(r"^<!-- measured -->\n((?:\|.*\n)+)", PAGE.read_text(), re.MULTILINE)
    measured = "\n".join(lines)
    assert printed and printed[1].splitlines() == lines, f"the page's table is not what was measured, which is:\n{measured}"
    return ", ".join(f"{title}: {count} let through" for title, count in counts.items())


def vf1_no_api_accepts_a_token_outside_the_header(program):
    """A token in the query or in a form is in logs and histories. Without the header, the request is one without a token."""
    with issuer_of_hostile_tokens(program) as (tokens, sign):
        both = sign(scope="orders:read orders:write")
        form = "Content-Type: application/x-www-form-urlencoded"
        for title, start in APIS.items():
            with start(program, tokens["issuer"]) as (port, _):
                for answer in [
                    ask(port),
                    ask(port, path=f"/orders?access_token={both}"),
                    ask(port, form, method="POST", body=f"access_token={both}&item=tea".encode()),
                    ask(port, "Authorization: Basic YTpi"),
                    ask(port, f"Authorization: DPoP {both}"),
                ]:
                    assert answer[0] in [400, 401], f"{title}: {answer}"
                # Names that only the guard sets.
                spoofed = ask(port, "X-Token-Subject: admin", "X-Token-Scope: orders:read")
                assert spoofed[0] in [400, 401], f"{title}: {spoofed}"
    return f"{len(APIS)} APIs"


def while_the_issuer_is_down_each_api_answers_503(program):
    """A 401 would make the caller discard a valid token."""
    with issuer_of_hostile_tokens(program) as (tokens, _):
        good = tokens["good"][0]["token"]
        with outages() as down:
            for title, start in APIS.items():
                for outage, issuer in down.items():
                    with start(program, issuer) as (port, _):
                        status, headers = with_token(port, good)
                    assert status == 503 and headers.get("retry-after", "").isdigit(), f"{title}, the issuer {outage}: {status} {headers}"
    return f"{len(APIS)} APIs, {len(down)} outages"
