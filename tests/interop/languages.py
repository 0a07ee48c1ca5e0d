"""The snippets of a page, run unchanged: they take good tokens, refuse others, and let through what the page's table says.

usage: languages.py PAGE SERVER_ISSUER CLIENT_JSON TEST_ISSUER_PROGRAM WORK_FOLDER

Each snippet stands in the page behind a line `<!-- check: NAME -->`. It is put beside its harness (`harness/NAME/`), which reads
tokens and says what the snippet made of each. The table behind `<!-- measured -->` is made anew and must be the same.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections import Counter
from pathlib import Path

AUDIENCE, SCOPE = "https://orders.example", "orders:read"
# An address at which nobody listens, as when the issuer is down.
NOBODY = "http://127.0.0.1:9"
HARNESS = Path(__file__).parent / "harness"
# The test issuer's tokens are good for ten minutes: none of these may take long.
PROCESS_SECONDS = 60

# What of Debian to install when a program is missing.
DEBIAN = {"node": "nodejs", "npm": "npm", "go": "golang-go", "java": "openjdk-17-jdk-headless", "mvn": "maven"}

# The columns of the table, and the codes with which Sealwright's own verifier refuses what is counted there.
COLUMNS = {
    "algorithm": ["algorithm_not_allowed"],
    "keys and signature": ["unknown_key", "bad_signature"],
    "typ, crit": ["wrong_type", "critical"],
    "form": ["malformed", "too_large"],
    "claims": ["missing_claim", "bad_claim", "expired", "not_yet_valid", "wrong_issuer", "wrong_audience", "binding_required"],
}

# One hostile token holds lists two thousand deep, and who takes it gives them back.
sys.setrecursionlimit(10_000)


class Failure(Exception):
    """What is wrong, for whoever reads the output."""


class Library:
    """How one library's project is laid out, built and run. `files` are harness files, `snippet` the block's file.

    `no_keys` is in each error that is to be answered 503, since the keys cannot be had, and in none that is to be answered 401.
    """

    def __init__(self, name, title, needs, files, snippet, build, run, version, no_keys):
        self.name, self.title, self.needs, self.files, self.snippet = name, title, needs, files, snippet
        self.build, self.run, self.version, self.no_keys = build, run, version, no_keys

    def prepare(self, code, folder):
        folder.mkdir(parents=True)
        for file, target in self.files.items():
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(HARNESS / file, folder / target)
        (folder / self.snippet).write_text(code)
        for command in self.build:
            done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            if done.returncode:
                raise Failure(f"{self.name}: `{' '.join(command)}` failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        self.folder = folder
        pattern, file = self.version
        found = re.search(pattern, (folder / file).read_text())
        if not found:
            raise Failure(f"{self.name}: {file} does not say its version")
        self.installed = found[1]

    def ask(self, tokens, issuer, audience=AUDIENCE):
        """What the snippet, so configured, makes of each token. One process; its end must be a clean one."""
        asked = "".join(json.dumps({"name": str(number), "token": token}) + "\n" for number, token in enumerate(tokens))
        environment = {**os.environ, "ISSUER": issuer, "AUDIENCE": audience}
        try:
            done = subprocess.run(self.run(self.folder), cwd=self.folder, env=environment, input=asked, capture_output=True, text=True,
                                  timeout=PROCESS_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name}: no end after {PROCESS_SECONDS} s") from None
        if done.returncode:
            raise Failure(f"{self.name}: ended with {done.returncode}:\n{done.stderr[-3000:]}")
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        if [answer["name"] for answer in answers] != [str(number) for number in range(len(tokens))]:
            raise Failure(f"{self.name}: {len(answers)} answers to {len(tokens)} tokens, or not in order")
        return answers


def go(name, title, module, no_keys):
    return Library(
        name, title, ["go"],
        {"go/harness.go": "harness.go", f"{name}/go.mod": "go.mod", f"{name}/go.sum": "go.sum"}, "snippet.go",
        [["go", "vet", "."], ["go", "build", "-o", "check", "."]], lambda folder: [folder / "check"],
        (re.escape(module) + r" v(\d+\.\d+)", "go.mod"), no_keys)


def java(name, title, artifact, no_keys):
    # Few tokens: the second compiler costs more than it saves.
    run = lambda folder: ["java", "-XX:TieredStopAtLevel=1", "-cp", f"target/classes:{(folder / 'classpath').read_text()}", "Harness"]
    return Library(
        name, title, ["java", "mvn"],
        {"java/Harness.java": "src/main/java/Harness.java", f"{name}/pom.xml": "pom.xml"}, "src/main/java/AccessTokens.java",
        [["mvn", "-B", "-q", "compile", "dependency:build-classpath", "-Dmdep.outputFile=classpath"]], run,
        (rf"<artifactId>{artifact}</artifactId>\s*<version>(\d+\.\d+)", "pom.xml"), no_keys)


LIBRARIES = [
    Library("pyjwt", "PyJWT", ["python3"],
            {"pyjwt/harness.py": "harness.py", "pyjwt/requirements.txt": "requirements.txt"}, "snippet.py",
            [["python3", "-m", "venv", "venv"],
             ["venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"]],
            lambda folder: [folder / "venv/bin/python", "harness.py"], (r"PyJWT\[crypto\]==(\d+\.\d+)", "requirements.txt"),
            "PyJWKClientConnectionError"),
    Library("jose", "jose", ["node", "npm"],
            {f"jose/{file}": file for file in ["harness.js", "package.json", "package-lock.json"]}, "snippet.js",
            [["npm", "ci", "--silent", "--no-audit", "--no-fund"]],
            lambda folder: ["node", "harness.js"], (r'"jose": "(\d+\.\d+)', "package.json"), "TypeError: fetch failed"),
    go("go-oidc", "go-oidc", "github.com/coreos/go-oidc/v3", "fetching keys"),
    go("jwx", "lestrrat-go/jwx", "github.com/lestrrat-go/jwx/v3", "is not ready"),
    java("spring", "Spring Security", "spring-security-oauth2-jose", "oauth2.jwt.JwtException"),
    java("nimbus", "Nimbus JOSE+JWT", "nimbus-jose-jwt", "JWKSetRetrievalException"),
]


def snippet(page, name):
    found = re.findall(rf"^<!-- check: {re.escape(name)} -->\n```\w+\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    if len(found) != 1:
        raise Failure(f"the page has {len(found)} blocks behind `<!-- check: {name} -->`, and one is wanted")
    return found[0]


def missing():
    """A line for each program that is wanted and not here."""
    wanted = sorted({program for library in LIBRARIES for program in library.needs})
    return [f"missing: {program} (Debian: {DEBIAN.get(program, program)})" for program in wanted if not shutil.which(program)]


def token_of_server(issuer, client):
    """A token as an app gets it, and what the issuer says of itself is what we asked for."""
    with urllib.request.urlopen(issuer + "/.well-known/oauth-authorization-server") as answer:
        metadata = json.load(answer)
    assert metadata["issuer"] == issuer, metadata
    for part in ["client_id", "secret"]:
        assert part in client, f"no {part} in the client's JSON"
    # RFC 6749 section 2.3.1: each part is form-encoded before they are joined.
    pair = ":".join(urllib.parse.quote(part, safe="") for part in [client["client_id"], client["secret"]["value"]])
    form = urllib.parse.urlencode({"grant_type": "client_credentials", "resource": AUDIENCE}).encode()
    headers = {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
    with urllib.request.urlopen(urllib.request.Request(metadata["token_endpoint"], form, headers)) as answer:
        return json.load(answer)["access_token"]


def forged(token):
    middle = len(token) - 100
    return token[:middle] + ("B" if token[middle] == "A" else "A") + token[middle + 1 :]


def server_faults(library, issuer, token, other_issuer):
    """What the library got wrong about the running server's token."""
    good, bad = library.ask([token, forged(token)], issuer)
    if not good["ok"]:
        yield f"refuses the server's token: {good['error']}"
    elif good["claims"].get("sub") != "billing" or SCOPE not in str(good["claims"].get("scope")).split(" "):
        yield f"reads other claims: {good['claims']}"
    if bad["ok"] or library.no_keys in bad["error"]:
        yield f"a forged signature: {bad.get('error', 'taken')}"
    if library.ask([token], issuer, audience="https://other.example")[0]["ok"]:
        yield "takes the server's token for another API"
    if library.ask([token], other_issuer)[0]["ok"]:
        yield "takes the server's token for one of another issuer"
    down = library.ask([token], NOBODY)[0]
    if library.no_keys not in down.get("error", ""):
        yield f"while the issuer is down: {down.get('error', 'taken')}"


def for_want_of_scope(answer):
    return "insufficient_scope" in answer.get("error", "")


def tally(library, tokens, answers):
    """How many of each kind were taken, what was let through, and what the library got wrong."""
    kinds = ["good", "without_scope", "hostile"]
    pairs = list(zip([(kind, token) for kind in kinds for token in tokens[kind]], answers))
    faults, let_through = [], []
    for (kind, token), answer in pairs:
        if kind == "good" and not answer["ok"]:
            faults.append(f"refuses the good token \"{token['name']}\": {answer['error']}")
        # 403, and not 401: the token itself is in order (RFC 6750 section 3.1).
        if kind == "without_scope" and not for_want_of_scope(answer):
            faults.append(f"{token['name']}: {answer.get('error', 'taken')}")
        # No token may look as if the keys were missing: a good caller would be told to come again.
        if kind == "hostile" and not answer["ok"] and library.no_keys in answer["error"]:
            faults.append(f"{token['code']}: {token['name']}: {answer['error']}")
        # The scope is each snippet's last check: whoever misses it there took the token for genuine.
        if kind == "hostile" and (answer["ok"] or for_want_of_scope(answer)):
            let_through.append(token)
    accepted = sum(answer["ok"] for (kind, _), answer in pairs if kind == "good")
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
        return f"| {title} | " + " | ".join(cells) + " |"

    lines = ["| let through by | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    return lines + [row(f"{library.title} {library.installed}", tokens) for library, tokens in through]


def table_of(page):
    found = re.findall(r"^<!-- measured -->\n((?:\|.*\n)+)", page, re.MULTILINE)
    if len(found) != 1:
        raise Failure(f"the page has {len(found)} tables behind `<!-- measured -->`, and one is wanted")
    return found[0].splitlines()


def against_issuers(page, server_issuer, token, issuer):
    """Everything that needs both issuers running; gives back what is wrong."""
    tokens = json.loads(issuer.stdout.readline() or "null")
    if not tokens:
        raise Failure("the test issuer says nothing")
    every = [token["token"] for kind in ["good", "without_scope", "hostile"] for token in tokens[kind]]
    faults, through = [], []
    for library in LIBRARIES:
        try:
            faults += [f"{library.name}: {fault}" for fault in server_faults(library, server_issuer, token, tokens["issuer"])]
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
        library.prepare(snippet(page, library.name), work / library.name)
    token = token_of_server(server_issuer, client)
    with subprocess.Popen([test_issuer, AUDIENCE, SCOPE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as issuer:
        try:
            faults = against_issuers(page, server_issuer, token, issuer)
        finally:
            issuer.stdin.close()  # it goes on until then
    if issuer.returncode:
        faults.append(f"the test issuer ended with {issuer.returncode}")
    if faults:
        raise Failure("\n".join(faults))


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"languages.py: {failure}")
