"""Runs the same small API in several languages, and one behind the guard: each accepts valid tokens, refuses others with the right status and
challenge, and accepts those hostile tokens that the page's table counts.

usage: apis.py PAGE EXAMPLES_FOLDER PROGRAM SERVER_ISSUER CLIENT_JSON TEST_ISSUER_PROGRAM WORK_FOLDER

Each API is a folder of the examples. It is copied, built as its first comment says, and asked over HTTP. The table after
`<!-- measured: apis -->` is computed again and must be the same.
"""

import contextlib
import http.client
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from languages import AHEAD_SECONDS, AUDIENCE, DEBIAN, SCOPE, Failure, outages, table, table_of, token_of_server

# How long an API may take to start, and an answer to arrive. Both are far longer than they take.
START_SECONDS, ANSWER_SECONDS = 300, 60
# Each API says that its leeway is 30 s. What is this much older or newer than now is within it, and what is further away is not.
WITHIN_SECONDS, BEYOND_SECONDS = AHEAD_SECONDS, 90


class Api:
    """One API: its folder in the examples, what it needs, how it is built, and the commands that serve it. `version` finds its version in a file."""

    def __init__(self, folder, title, needs, build, serve, version=None):
        self.name, self.title, self.needs, self.build, self.serve, self.version = folder, title, needs, build, serve, version

    def prepare(self, examples, work):
        self.folder = work / self.name
        shutil.copytree(examples / self.name, self.folder, ignore=shutil.ignore_patterns("target", "__pycache__"))
        for command in self.build:
            done = subprocess.run(command, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            if done.returncode:
                raise Failure(f"{self.name}: `{' '.join(map(str, command))}` failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        self.installed = self.find_version()

    def find_version(self):
        if not self.version:
            return ""
        pattern, file = self.version
        found = re.search(pattern, (self.folder / file).read_text())
        if not found:
            raise Failure(f"{self.name}: {file} does not say its version")
        return found[1]

    @contextlib.contextmanager
    def serving(self, issuer):
        """A function that asks the API, which trusts this issuer. The API stops afterwards."""
        port = free_port()
        with contextlib.ExitStack() as stack:
            for command, environment, listens_at in self.serve(self.folder, issuer, port):
                stack.enter_context(process(self.name, command, environment, self.folder, listens_at))
            yield Caller(self.name, port)


class Caller:
    """Sends requests to an API."""

    def __init__(self, name, port):
        self.name, self.port = name, port

    def ask(self, token, method="GET", path="/orders", body=None, **headers):
        """The answer: its status, its headers with lower-case names, and its body. `None` as the token sends no header, a list several."""
        tokens = [token] if isinstance(token, str) else token or []
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        with contextlib.closing(connection):
            connection.putrequest(method, path)
            for each in tokens:
                connection.putheader("Authorization", f"Bearer {each}")
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            sent = json.dumps(body).encode() if body is not None else b""
            if body is not None:
                connection.putheader("Content-Type", "application/json")
            connection.putheader("Content-Length", str(len(sent)))
            connection.endheaders(sent)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()

    def fault(self, what, wanted, token, *challenge, **more):
        """Describes how the answer differs from this status, with a challenge that contains these texts; empty if it does not."""
        status, headers, body = self.ask(token, **more)
        said = headers.get("www-authenticate", "")
        fine = status == wanted and all(text in said for text in challenge) and (said.startswith("Bearer") or status not in [401, 403])
        fine = fine and (status != 503 or headers.get("retry-after"))
        return [] if fine else [f"{self.name}: {what}: {status} {said!r} instead of {wanted} with {challenge}: {body[:200]}"]


def free_port():
    """A port that no outgoing connection is given while the API starts: those begin at 32768."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def process(name, command, environment, folder, port):
    """A process that listens at this port. It is killed afterwards."""
    with tempfile.TemporaryFile("w+") as log, subprocess.Popen(
        command, cwd=folder, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
    ) as running:
        try:
            until = time.monotonic() + START_SECONDS
            while not listens(port):
                if running.poll() is not None or time.monotonic() > until:
                    log.seek(0)
                    raise Failure(f"{name}: `{' '.join(map(str, command))}` does not listen:\n{log.read()[-3000:]}")
                time.sleep(0.05)
            yield
        finally:
            running.kill()


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def uvicorn(venv, port):
    return [venv / "bin/uvicorn", "orders:app", "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]


def apis(program, work):
    """Every API. The one behind the guard uses the Python packages of the other one."""
    venv = work / "fastapi" / "venv"

    def fastapi(_, issuer, port):
        return [(uvicorn(venv, port), {"ISSUER": issuer, "AUDIENCE": AUDIENCE}, port)]

    def go(folder, issuer, port):
        return [([folder / "orders"], {"ISSUER": issuer, "AUDIENCE": AUDIENCE, "LISTEN": f"127.0.0.1:{port}"}, port)]

    def spring(folder, issuer, port):
        environment = {"ISSUER": issuer, "AUDIENCE": AUDIENCE, "SERVER_ADDRESS": "127.0.0.1", "SERVER_PORT": str(port)}
        # Few requests: the optimizing compiler would cost more time than it saves.
        return [(["java", "-XX:TieredStopAtLevel=1", "-jar", folder / "target/orders-1.jar"], environment, port)]

    def guarded(folder, issuer, port):
        behind, rules = free_port(), folder / f"rules-{port}.toml"
        rules.write_text((folder / "rules.toml").read_text().replace("http://localhost:8080", issuer))
        guard = [program, "guard", "--rules", rules, "--upstream", f"http://127.0.0.1:{behind}", "--listen", f"127.0.0.1:{port}",
                 "--management-listen", "off"]
        return [(uvicorn(venv, behind), {}, behind), (guard, {}, port)]

    return [
        Api("fastapi", "FastAPI, PyJWT", ["python3"],
            [["python3", "-m", "venv", "venv"], ["venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"]],
            fastapi, (r"PyJWT\[crypto\]==(\d+\.\d+)", "requirements.txt")),
        Api("go", "net/http, lestrrat-go/jwx", ["go"], [["go", "vet", "."], ["go", "build", "-o", "orders", "."]],
            go, (r"lestrrat-go/jwx/v3 v(\d+\.\d+)", "go.mod")),
        Api("spring", "Spring Boot", ["java", "mvn"], [["mvn", "-B", "-q", "package"]],
            spring, (r"<artifactId>spring-boot-starter-parent</artifactId>\s*<version>(\d+\.\d+)", "pom.xml")),
        Api("behind_guard", "`sealwright guard`, without code", ["python3"], [], guarded),
    ]


def server_faults(api, issuer, token, narrow):
    """What the API got wrong about tokens of the running server: `token` may read and write, `narrow` only read."""
    with api.serving(issuer) as caller:
        yield from caller.fault("no token", 401, None)
        yield from caller.fault("an order", 201, token, method="POST", body={"item": "tea"}, X_Token_Subject="mallory")
        yield from caller.fault("an order by a token that may only read", 403, narrow, "insufficient_scope", method="POST", body={"item": "tea"})
        yield from caller.fault("a token in the query", 401, None, path=f"/orders?access_token={token}")
        yield from caller.fault("two tokens", 400, [token, narrow])
        yield from caller.fault("an order whose item is too long", 422, token, method="POST", body={"item": "x" * 1000})
        yield from caller.fault("an order of a wrong form without a token", 401, None, method="POST", body=[])
        status, _, body = caller.ask(narrow)
        if status != 200 or [(order["item"], order["owner"]) for order in json.loads(body)] != [("tea", "billing")]:
            yield f"{api.name}: the orders are {status} {body}"


def clock_faults(caller, sign):
    """What the API got wrong about times: its leeway goes both ways, and no further."""

    def asked(what, status, **times):
        now = int(time.time())
        return caller.fault(what, status, sign({"iat": now, "exp": now + 600} | {name: now + seconds for name, seconds in times.items()}))

    yield from asked("an issuer whose clock is a little ahead", 200, iat=WITHIN_SECONDS, nbf=WITHIN_SECONDS)
    yield from asked("a token that has just expired", 200, iat=-600, exp=-WITHIN_SECONDS)
    yield from asked("a token from the future", 401, iat=BEYOND_SECONDS)
    yield from asked("a token that is valid later", 401, nbf=BEYOND_SECONDS)
    yield from asked("a token that has expired", 401, iat=-600, exp=-BEYOND_SECONDS)


def outage_faults(api, sign):
    """What the API got wrong about issuers that are down. Many wait for a timeout."""

    def asked(name, url, token):
        with api.serving(url) as caller:
            # The second one may find another state: a fetch that has failed.
            return [fault for turn in ["first", "second"] for fault in caller.fault(f"an issuer that {name}, {turn} token", 503, token)]

    with outages() as down, ThreadPoolExecutor() as pool:
        # Nothing but the keys is missing to find out whether a token is valid.
        tokens = [sign({"iss": url}) for url in down.values()]
        for faults in pool.map(asked, down, down.values(), tokens):
            yield from faults


def hostile_faults(caller, hostile):
    """The hostile tokens that the API let through, and those that it refused in a wrong way."""
    let_through, faults = [], []
    for token in hostile:
        try:
            status, headers, _ = caller.ask(token["token"])
        except (ConnectionError, http.client.HTTPException) as error:
            # A server may end the connection while a header is sent that it does not read.
            if token["in_header"] != "too_long":
                faults.append(f"{caller.name}: {token['name']}: {error!r}")
            continue
        # The API would serve it with the right scope.
        if status in [200, 403]:
            let_through.append(token)
        # The web server refuses a header that is too large, and the guard what does not have the form of a token (RFC 6750 section 3.1).
        elif status in [400, 413, 431] and token["code"] in ["too_large", "malformed"]:
            continue
        elif status != 401 or 'error="invalid_token"' not in headers.get("www-authenticate", ""):
            faults.append(f"{caller.name}: {token['name']}: {status} {headers.get('www-authenticate')}")
    return let_through, faults


def issuer_faults(api, tokens, hostile, sign):
    """What the API let through and got wrong with the test issuer, whose tokens all arrive as they are."""
    with api.serving(tokens["issuer"]) as caller:
        faults = [fault for good in tokens["good"] for fault in caller.fault(f"the good token \"{good['name']}\"", 200, good["token"])]
        for token in tokens["without_scope"]:
            faults += caller.fault(token["name"], 403, token["token"], "insufficient_scope")
        faults += clock_faults(caller, sign)
        let_through, wrong = hostile_faults(caller, hostile)
        # The API is still there.
        faults += wrong + caller.fault("a good token after all hostile ones", 200, tokens["good"][0]["token"])
    print(f"{api.title} {api.installed}: let through {len(let_through)} of {len(hostile)}")
    for token in let_through:
        print(f"    {token['code']}: {token['name']}")
    return let_through, faults


@contextlib.contextmanager
def issuing(program):
    """A test issuer: its tokens, and a function that signs one with further claims. Its tokens are valid for ten minutes, so each API has its own."""
    with subprocess.Popen([program, AUDIENCE, SCOPE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as issuer:
        try:
            tokens = json.loads(issuer.stdout.readline() or "null")
            if not tokens:
                raise Failure("the test issuer says nothing")

            def sign(claims):
                issuer.stdin.write(json.dumps({"scope": SCOPE, **claims}) + "\n")
                issuer.stdin.flush()
                return issuer.stdout.readline().strip()

            yield tokens, sign
        finally:
            issuer.stdin.close()  # it runs until then
    if issuer.returncode:
        raise Failure(f"the test issuer ended with {issuer.returncode}")


def all_faults(page, every, server_issuer, token, narrow, test_issuer):
    """What is wrong with the APIs, or with the page."""
    faults, through, hostile = [], [], []
    for api in every:
        try:
            faults += server_faults(api, server_issuer, token, narrow)
            with issuing(test_issuer) as (tokens, sign):
                # HTTP changes or refuses the others.
                hostile = [token for token in tokens["hostile"] if token["in_header"] in ["unchanged", "too_long"]]
                let_through, wrong = issuer_faults(api, tokens, hostile, sign)
                through.append((api, let_through))
                faults += wrong
                faults += outage_faults(api, sign)
        except Failure as failure:
            faults.append(str(failure))
    right = table(hostile, through)
    if not faults and right != table_of(page, "measured: apis"):
        faults.append("the page's table is not what was measured, which is:\n" + "\n".join(right))
    return faults


def main():
    if len(sys.argv) != 8:
        raise Failure(__doc__)
    page, examples, program, server_issuer, client, test_issuer, work = sys.argv[1:]
    page, client, work = Path(page).read_text(), json.loads(Path(client).read_text()), Path(work).resolve()
    every = apis(program, work)
    wanted = sorted({program for api in every for program in api.needs})
    if lacking := [program for program in wanted if not shutil.which(program)]:
        raise Failure("\n".join(f"missing: {program} (Debian: {DEBIAN.get(program, program)})" for program in lacking))
    for api in every:
        api.prepare(Path(examples).resolve(), work)
    token, narrow = token_of_server(server_issuer, client), token_of_server(server_issuer, client, scope=SCOPE)
    faults = all_faults(page, every, server_issuer, token, narrow, test_issuer)
    if faults:
        raise Failure("\n".join(faults))


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"apis.py: {failure}")
