"""Runs the snippets of a page unchanged: they accept valid tokens, refuse others with the right status, and accept those hostile tokens
that the page's table counts.

usage: languages.py PAGE SERVER_ISSUER CLIENT_JSON TEST_ISSUER_PROGRAM WORK_FOLDER

Each snippet follows a line `<!-- check: NAME -->` in the page. It is copied beside its harness (`harness/NAME/`), which reads tokens and
prints the snippet's answer to each. Code that two snippets share follows `<!-- answers: NAME -->`. The table after `<!-- measured -->` is
computed again and must be the same.
"""

import base64
import contextlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

AUDIENCE, SCOPE, OTHER_SCOPE = "https://orders.example", "orders:read", "orders:write"
# How far the issuer's clock is ahead of the API's: longer than it takes to issue a token and to check it.
AHEAD_SECONDS = 10
# An address without a listener, as when the issuer is down.
NO_LISTENER = "http://127.0.0.1:9"
HARNESS = Path(__file__).parent / "harness"
# Tokens of the test issuer are valid for ten minutes, so no step may take that long.
PROCESS_SECONDS = 60

# The Debian package of each program.
DEBIAN = {"node": "nodejs", "npm": "npm", "go": "golang-go", "java": "openjdk-17-jdk-headless", "mvn": "maven"}

# The columns of the table, and the error codes of Sealwright's verifier that each column counts.
COLUMNS = {
    "algorithm": ["algorithm_not_allowed"],
    "keys and signature": ["unknown_key", "bad_signature"],
    "typ, crit": ["wrong_type", "critical"],
    "form": ["malformed", "too_large"],
    "claims": ["missing_claim", "bad_claim", "expired", "not_yet_valid", "wrong_issuer", "wrong_audience", "binding_required"],
}

# One hostile token holds lists two thousand levels deep; a snippet that accepts it returns them.
sys.setrecursionlimit(10_000)


class Failure(Exception):
    """A failure, described for the person who reads the output."""


class Library:
    """How one library's project is laid out, built and run. `files` are harness files, `snippet` the block's file, `kind` what the block follows.
    """

    def __init__(self, name, title, needs, files, snippet, build, run, version, answers=None, kind="check"):
        self.name, self.title, self.needs, self.files, self.snippet = name, title, needs, files, snippet
        self.build, self.run, self.version, self.answers, self.kind = build, run, version, answers, kind

    def prepare(self, page, folder):
        folder.mkdir(parents=True)
        for file, target in self.files.items():
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(HARNESS / file, folder / target)
        (folder / self.snippet).write_text(snippet(page, self.kind, self.name))
        if self.answers:
            name, file = self.answers
            (folder / file).write_text(snippet(page, "answers", name))
        for command in self.build:
            done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            if done.returncode:
                raise Failure(f"{self.name}: `{' '.join(command)}` failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        self.folder = folder
        self.installed = self.find_version()

    def find_version(self):
        pattern, file = self.version
        found = re.search(pattern, (self.folder / file).read_text())
        if not found:
            raise Failure(f"{self.name}: {file} does not say its version")
        return found[1]

    def ask(self, tokens, issuer, audience=AUDIENCE, scope=SCOPE):
        """The answer of the configured snippet to each token. One process, which must exit with 0."""
        with self.running(issuer, audience) as (process, said):
            asked = "".join(self.line(number, token, scope) for number, token in enumerate(tokens))
            out, _ = process.communicate(asked)
        if process.returncode:
            raise Failure(f"{self.name}: ended with {process.returncode}:\n{said()}")
        answers = [json.loads(line) for line in out.splitlines()]
        if [answer["name"] for answer in answers] != [str(number) for number in range(len(tokens))]:
            raise Failure(f"{self.name}: {len(answers)} answers to {len(tokens)} tokens, or not in order")
        return answers

    def ask_in_turn(self, tokens, issuer):
        """The same, but each token is created when the process waits for it."""
        answers = []
        with self.running(issuer, AUDIENCE) as (process, said):
            for number, token in enumerate(tokens):
                line = ""
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write(self.line(number, token(), SCOPE))
                    process.stdin.flush()
                    line = process.stdout.readline()
                if not line:
                    raise Failure(f"{self.name}: no answer:\n{said()}")
                answers.append(json.loads(line))
            process.communicate()
        return answers

    @staticmethod
    def line(number, token, scope):
        return json.dumps({"name": str(number), "token": token, "scope": scope}) + "\n"

    @contextlib.contextmanager
    def running(self, issuer, audience, seconds=PROCESS_SECONDS):
        """The harness and its standard error. It is killed when it takes longer; its answers are then missing."""
        environment = {**os.environ, "ISSUER": issuer, "AUDIENCE": audience}
        with tempfile.TemporaryFile("w+") as log, subprocess.Popen(
            self.run(self.folder), cwd=self.folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process:

            def said():
                log.seek(0)
                return log.read()[-3000:]

            limit = threading.Timer(seconds, process.kill)
            limit.start()
            try:
                yield process, said
            finally:
                limit.cancel()
                process.kill()


def go(name, title, module):
    return Library(
        name, title, ["go"],
        {"go/harness.go": "harness.go", f"{name}/go.mod": "go.mod", f"{name}/go.sum": "go.sum"}, "snippet.go",
        [["go", "vet", "."], ["go", "build", "-o", "check", "."]], lambda folder: [folder / "check"],
        (re.escape(module) + r" v(\d+\.\d+)", "go.mod"), ("go", "answers.go"))


def java(name, title, artifact):
    # Few tokens: the optimizing compiler would cost more time than it saves.
    run = lambda folder: ["java", "-XX:TieredStopAtLevel=1", "-cp", f"target/classes:{(folder / 'classpath').read_text()}", "Harness"]
    return Library(
        name, title, ["java", "mvn"],
        {"java/Harness.java": "src/main/java/Harness.java", f"{name}/pom.xml": "pom.xml"}, "src/main/java/AccessTokens.java",
        [["mvn", "-B", "-q", "compile", "dependency:build-classpath", "-Dmdep.outputFile=classpath"]], run,
        (rf"<artifactId>{artifact}</artifactId>\s*<version>(\d+\.\d+)", "pom.xml"))


LIBRARIES = [
    Library("pyjwt", "PyJWT", ["python3"],
            {"pyjwt/harness.py": "harness.py", "pyjwt/requirements.txt": "requirements.txt"}, "snippet.py",
            [["python3", "-m", "venv", "venv"],
             ["venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"]],
            lambda folder: [folder / "venv/bin/python", "harness.py"], (r"PyJWT\[crypto\]==(\d+\.\d+)", "requirements.txt")),
    Library("jose", "jose", ["node", "npm"],
            {f"jose/{file}": file for file in ["harness.js", "package.json", "package-lock.json"]}, "snippet.js",
            [["npm", "ci", "--silent", "--no-audit", "--no-fund"]],
            lambda folder: ["node", "harness.js"], (r'"jose": "(\d+\.\d+)', "package.json")),
    go("go-oidc", "go-oidc", "github.com/coreos/go-oidc/v3"),
    go("jwx", "lestrrat-go/jwx", "github.com/lestrrat-go/jwx/v3"),
    java("spring", "Spring Security", "spring-security-oauth2-jose"),
    java("nimbus", "Nimbus JOSE+JWT", "nimbus-jose-jwt"),
]


def snippet(page, kind, name):
    found = re.findall(rf"^<!-- {kind}: {re.escape(name)} -->\n```\w+\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    if len(found) != 1:
        raise Failure(f"the page has {len(found)} blocks behind `<!-- {kind}: {name} -->`, and one is wanted")
    return found[0]


def missing():
    """A line for each missing program."""
    wanted = sorted({program for library in LIBRARIES for program in library.needs})
    return [f"missing: {program} (Debian: {DEBIAN.get(program, program)})" for program in wanted if not shutil.which(program)]


def token_of_server(issuer, client, **form):
    """A token as an app gets it. The metadata must name the requested issuer."""
    with urllib.request.urlopen(issuer + "/.well-known/oauth-authorization-server") as answer:
        metadata = json.load(answer)
    assert metadata["issuer"] == issuer, metadata
    for part in ["client_id", "secret"]:
        assert part in client, f"no {part} in the client's JSON"
    # RFC 6749 section 2.3.1: each part is form-encoded before they are joined.
    pair = ":".join(urllib.parse.quote(part, safe="") for part in [client["client_id"], client["secret"]["value"]])
    form = urllib.parse.urlencode({"grant_type": "client_credentials", "resource": AUDIENCE, **form}).encode()
    headers = {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
    with urllib.request.urlopen(urllib.request.Request(metadata["token_endpoint"], form, headers)) as answer:
        return json.load(answer)["access_token"]


def forged(token):
    middle = len(token) - 100
    return token[:middle] + ("B" if token[middle] == "A" else "A") + token[middle + 1 :]


def fault(answer, status, scope=SCOPE):
    """Describes how an answer differs from this status; empty if it does not."""
    headers = {name.lower(): value for name, value in (answer.get("headers") or {}).items()}
    wanted = {
        200: {},
        401: {"www-authenticate": 'Bearer error="invalid_token"'},
        403: {"www-authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'},
        503: {"retry-after": "10"},
    }[status]
    if (answer["status"], headers) != (status, wanted):
        return f"{answer['status']} {headers} instead of {status} {wanted}: {answer.get('error', '')}"


@contextlib.contextmanager
def outages():
    """Issuers that are down in different ways: name and URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path.startswith("/silent/"):
                over.wait()
                return
            body = b"<!doctype html><title>Sign in</title>"
            self.send_response(503 if self.path.startswith("/status/") else 200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    over = threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield {"is not there": NO_LISTENER, "answers 503": f"{base}/status", "answers a page": f"{base}/page", "never answers": f"{base}/silent"}
    finally:
        over.set()
        server.shutdown()


def server_faults(library, issuer, token, narrow, other_issuer):
    """What the library got wrong about the running server's token, and about `narrow`, which carries one scope of two."""

    def asked(what, tokens, status, at=issuer, scope=SCOPE, **more):
        for answer in library.ask(tokens, at, scope=scope, **more):
            if wrong := fault(answer, status, scope):
                yield f"{what}: {wrong}"

    good = library.ask([token], issuer)[0]
    if good["status"] != 200:
        yield f"refuses the server's token: {fault(good, 200)}"
    elif good["claims"].get("sub") != "billing" or SCOPE not in str(good["claims"].get("scope")).split(" "):
        yield f"reads other claims: {good['claims']}"
    yield from asked("a forged signature", [forged(token)], 401)
    yield from asked("the server's token for another API", [token], 401, audience="https://other.example")
    yield from asked("the server's token for one of another issuer", [token], 401, at=other_issuer)
    yield from asked("both scopes, where the other one is needed", [token], 200, scope=OTHER_SCOPE)
    yield from asked("one scope, where it is needed", [narrow], 200)
    yield from asked("one scope, where the other one is needed", [narrow], 403, scope=OTHER_SCOPE)
    # Many snippets wait for a timeout.
    with outages() as down, ThreadPoolExecutor() as pool:
        answers = pool.map(lambda url: library.ask([token], url)[0], down.values())
        for name, answer in zip(down, answers):
            if wrong := fault(answer, 503):
                yield f"an issuer that {name}: {wrong}"


def clock_faults(library, issuer, sign):
    """What the library got wrong about tokens of an issuer whose clock differs from the API's. The first token brings the keys."""
    now = lambda ahead: int(time.time()) + ahead
    ahead = lambda: sign({"iat": now(AHEAD_SECONDS), "exp": now(AHEAD_SECONDS) + 600})
    # The API's clock is ahead, or the token was on its way when it expired.
    expired = lambda: sign({"iat": now(-AHEAD_SECONDS) - 600, "exp": now(-AHEAD_SECONDS)})
    _, *answers = library.ask_in_turn([lambda: sign({}), ahead, expired], issuer)
    for what, answer in zip([f"of an issuer that is {AHEAD_SECONDS} s ahead", f"that expired {AHEAD_SECONDS} s ago"], answers):
        if wrong := fault(answer, 200):
            yield f"a token {what}: {wrong}"


def tally(library, tokens, answers):
    """The number accepted per column, the names of accepted hostile tokens, and what the library got wrong."""
    kinds = ["good", "without_scope", "hostile"]
    pairs = list(zip([(kind, token) for kind in kinds for token in tokens[kind]], answers))
    faults, let_through = [], []
    for (kind, token), answer in pairs:
        if kind == "good" and answer["status"] != 200:
            faults.append(f"refuses the good token \"{token['name']}\": {fault(answer, 200)}")
        # 403, not 401: the token is valid (RFC 6750 section 3.1).
        if kind == "without_scope" and (wrong := fault(answer, 403)):
            faults.append(f"{token['name']}: {wrong}")
        # The scope is the last check of each snippet: a snippet that answers 403 accepted the token otherwise.
        if kind == "hostile" and answer["status"] in [200, 403]:
            let_through.append(token)
        # No token may get the answer for missing keys, which tells the caller to try again.
        elif kind == "hostile" and (wrong := fault(answer, 401)):
            faults.append(f"{token['code']}: {token['name']}: {wrong}")
    accepted = sum(answer["status"] == 200 for (kind, _), answer in pairs if kind == "good")
    refused = len(tokens["without_scope"]) + len(tokens["hostile"]) - len(let_through)
    print(f"{library.title} {library.installed}: accepted {accepted} good, refused {refused}, let through {len(let_through)}")
    for token in let_through:
        print(f"    {token['code']}: {token['name']}")
    return let_through, faults


def table(hostile, through):
    total = Counter(token["code"] for token in hostile)
    known = {code for codes in COLUMNS.values() for code in codes}
    if unknown := set(total) - known:
        raise Failure(f"no column of the table is for {sorted(unknown)}")

    def row(title, tokens):
        count = Counter(token["code"] for token in tokens)
        cells = [f"{sum(count[code] for code in codes)} of {sum(total[code] for code in codes)}" for codes in COLUMNS.values()]
        return f"| {title.strip()} | " + " | ".join(cells) + " |"

    lines = ["| let through by | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    return lines + [row(f"{library.title} {library.installed}", tokens) for library, tokens in through]


def table_of(page, mark="measured"):
    found = re.findall(rf"^<!-- {mark} -->\n((?:\|.*\n)+)", page, re.MULTILINE)
    if len(found) != 1:
        raise Failure(f"the page has {len(found)} tables behind `<!-- {mark} -->`, and one is wanted")
    return found[0].splitlines()


def against_issuers(page, server_issuer, token, narrow, issuer):
    """All checks that need both running issuers; returns what is wrong."""
    tokens = json.loads(issuer.stdout.readline() or "null")
    if not tokens:
        raise Failure("the test issuer says nothing")

    def sign(claims):
        issuer.stdin.write(json.dumps({"scope": SCOPE, **claims}) + "\n")
        issuer.stdin.flush()
        return issuer.stdout.readline().strip()

    every = [token["token"] for kind in ["good", "without_scope", "hostile"] for token in tokens[kind]]
    faults, through = [], []
    for library in LIBRARIES:
        try:
            faults += [f"{library.name}: {fault}" for fault in server_faults(library, server_issuer, token, narrow, tokens["issuer"])]
            faults += [f"{library.name}: {fault}" for fault in clock_faults(library, tokens["issuer"], sign)]
            let_through, wrong = tally(library, tokens, library.ask(every, tokens["issuer"]))
            through.append((library, let_through))
            faults += [f"{library.name}: {fault}" for fault in wrong]
        except Failure as failure:
            faults.append(str(failure))
    right = table(tokens["hostile"], through)
    if not faults and right != table_of(page):
        faults.append("the page's table is not what was measured, which is:\n" + "\n".join(right))
    return faults


def main():
    if len(sys.argv) != 6:
        raise Failure(__doc__)
    page_path, server_issuer, client_path, test_issuer, work = sys.argv[1:]
    page, client, work = Path(page_path).read_text(), json.loads(Path(client_path).read_text()), Path(work).resolve()
    if lacking := missing():
        raise Failure("\n".join(lacking))
    for library in LIBRARIES:
        library.prepare(page, work / library.name)
    token, narrow = token_of_server(server_issuer, client), token_of_server(server_issuer, client, scope=SCOPE)
    with subprocess.Popen([test_issuer, AUDIENCE, SCOPE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as issuer:
        try:
            faults = against_issuers(page, server_issuer, token, narrow, issuer)
        finally:
            issuer.stdin.close()  # it runs until then
    if issuer.returncode:
        faults.append(f"the test issuer ended with {issuer.returncode}")
    if faults:
        raise Failure("\n".join(faults))


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"languages.py: {failure}")
