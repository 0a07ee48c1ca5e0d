"""KY4: verifies the tokens of each algorithm with the snippets of a page, each changed as the page's table says; they refuse tampered
tokens and those of other algorithms.

usage: algorithms.py PAGE PROGRAM PREPARED_FOLDER WORK_FOLDER

PREPARED_FOLDER has the projects that `languages.py` has built. The table after `<!-- algorithms -->` has what stands in a snippet in place of
`RS256`, or `no` for a library that cannot verify the algorithm. That is measured too: none of the names that it could have makes such a
snippet accept a token. The server runs twice on one database: with `Ed25519`, the name of RFC 9864, and with its earlier name.
"""

import base64
import contextlib
import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

from languages import LIBRARIES, SCOPE, Failure, fault, snippet, token_of_server

# The columns of the table, by the `ed25519_alg` with which the server runs.
RUNS = {"Ed25519": ["PS256", "ES256", "Ed25519"], "EdDSA": ["EdDSA"]}
COLUMNS = [algorithm for run in RUNS.values() for algorithm in run]
# The first key of an algorithm of a new issuer signs after seconds.
KEY_SECONDS = 60


class Server:
    """The real server in a folder. It keeps its port, and so its issuer, over a restart."""

    def __init__(self, program, folder):
        self.program, self.folder, self.listen = program, folder, "127.0.0.1:0"

    @contextlib.contextmanager
    def running(self, *flags):
        arguments = [self.program, "serve", "--listen", self.listen, "--management-listen", "off", "--log-format", "json", *flags]
        with subprocess.Popen(arguments, cwd=self.folder, stderr=subprocess.PIPE, text=True) as process:
            try:
                events = map(json.loads, process.stderr)
                serving = next((event for event in events if event["message"] == "serving"), None)
                if not serving:
                    raise Failure("the server does not start")
                threading.Thread(target=process.stderr.read, daemon=True).start()
                self.issuer, self.listen = serving["issuer"], serving["listen"]
                yield self.issuer
            finally:
                process.terminate()

    def run(self, *command, typed=None):
        done = subprocess.run([self.program, *command], cwd=self.folder, input=typed, capture_output=True, text=True)
        if done.returncode:
            raise Failure(f"{' '.join(command)}: {done.stderr}")
        return done.stdout


def audience(algorithm):
    # The same resource under both names of Ed25519.
    return f"https://{algorithm.replace('EdDSA', 'Ed25519').lower()}.example"


def header(token):
    return json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))


def token_with(algorithm, issuer, client, resource):
    """A token for a resource of this algorithm, once it is signed with it."""
    until = time.monotonic() + KEY_SECONDS
    while True:
        token = token_of_server(issuer, client, resource=resource)
        if header(token)["alg"] == algorithm:
            return token
        if time.monotonic() > until:
            raise Failure(f"no token for {resource} is signed with {algorithm}: {header(token)}")
        time.sleep(0.5)


def tampered(token):
    """The token with a changed signature, and with a changed claim."""
    signed, signature = token.rsplit(".", 1)
    middle = len(signature) // 2
    changed = signature[:middle] + ("B" if signature[middle] == "A" else "A") + signature[middle + 1 :]
    head, payload = signed.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    admin = base64.urlsafe_b64encode(json.dumps(claims | {"sub": "admin"}).encode()).decode().rstrip("=")
    return [f"{signed}.{changed}", f"{head}.{admin}.{signature}"]


class Written:
    """The snippet of a library, with the name of an algorithm in place of `RS256`."""

    def __init__(self, library, page):
        self.library, self.original = library, snippet(page, "check", library.name)
        if not re.search(r"\bRS256\b", self.original):
            raise Failure(f"{library.name}: its snippet does not name RS256")

    def write_for(self, name):
        (self.library.folder / self.library.snippet).write_text(re.sub(r"\bRS256\b", name, self.original))
        # What is installed stays.
        for command in self.library.build:
            if command[0] in ["go", "mvn"]:
                done = subprocess.run(command, cwd=self.library.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
                if done.returncode:
                    raise Failure(f"{self.library.name}: with {name}, it is not built:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    def accepts(self, name, token, issuer, at):
        try:
            self.write_for(name)
            return self.library.ask([token], issuer, audience=at)[0]["status"] == 200
        except Failure:
            return False


def faults_of_run(written, names, tokens, by_rs256, issuer):
    """What a library gets wrong about the tokens of the running server: `names` is its row of the table."""
    library = written.library
    written.write_for("RS256")
    for algorithm, token in tokens.items():
        expected = [(by_rs256[algorithm], 200), (token, 401)]
        answers = library.ask([token for token, _ in expected], issuer, audience=audience(algorithm))
        for (token, status), answer in zip(expected, answers):
            if wrong := fault(answer, status):
                yield f"with RS256 alone, a token with {header(token)['alg']}: {wrong}"
    for algorithm, token in tokens.items():
        name, at = names[algorithm], audience(algorithm)
        if name is None:
            for name in dict.fromkeys([algorithm, *(["Ed25519", "EdDSA"] if algorithm in ["Ed25519", "EdDSA"] else [])]):
                if written.accepts(name, token, issuer, at):
                    yield f"{algorithm}: the table says no, and `{name}` accepts its token"
            continue
        written.write_for(name)
        expected = [(token, 200), *((bad, 401) for bad in tampered(token)), (by_rs256[algorithm], 401)]
        answers = library.ask([token for token, _ in expected], issuer, audience=at)
        for number, ((_, status), answer) in enumerate(zip(expected, answers)):
            what = ["its token", "a changed signature", "a changed claim", "a token with RS256"][number]
            if wrong := fault(answer, status):
                yield f"{algorithm}, with `{name}`: {what}: {wrong}"
        if answers[0]["status"] == 200 and answers[0]["claims"].get("sub") != "billing":
            yield f"{algorithm}: reads other claims: {answers[0]['claims']}"


def table_of(page):
    """The names by library and algorithm; `None` for `no`."""
    found = re.findall(r"^<!-- algorithms -->\n((?:\|.*\n)+)", page, re.MULTILINE)
    if len(found) != 1:
        raise Failure(f"the page has {len(found)} tables behind `<!-- algorithms -->`, and one is wanted")
    head, _, *rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in found[0].splitlines()]
    if head[1:] != COLUMNS:
        raise Failure(f"the columns of the table are {head[1:]}, and {COLUMNS} are wanted")
    table = {row[0]: dict(zip(COLUMNS, (None if cell == "no" else cell.strip("`") for cell in row[1:]))) for row in rows}
    wanted = [f"{library.title} {library.installed}" for library in LIBRARIES]
    if list(table) != wanted:
        raise Failure(f"the table is for {list(table)}, and {wanted} are wanted")
    return table


def main():
    if len(sys.argv) != 5:
        raise Failure(__doc__)
    page, program, prepared, folder = Path(sys.argv[1]).read_text(), sys.argv[2], Path(sys.argv[3]).resolve(), Path(sys.argv[4])
    folder.mkdir()
    for library in LIBRARIES:
        library.folder = prepared / library.name
        library.installed = library.find_version()
    table = table_of(page)
    all_written = [Written(library, page) for library in LIBRARIES]
    server, faults, by_rs256, kept = Server(program, folder), [], {}, {}
    for ed25519_alg, algorithms in RUNS.items():
        with server.running("--ed25519-alg", ed25519_alg) as issuer:
            if not by_rs256:
                resources = {audience(algorithm): algorithm for algorithm in algorithms}
                for resource in resources:
                    # A slow machine takes longer than the ten minutes of the default.
                    server.run("resource", "create", resource, "--scope", SCOPE, "--token-lifetime", "24h")
                allowed = [flag for resource in resources for flag in ["--allow", f"{resource}={SCOPE}"]]
                client = json.loads(server.run("client", "create", "billing", "--grant", "client_credentials", *allowed, "--json"))
                # Before a resource has an algorithm of its own, its tokens are signed with the default.
                by_rs256 = {algorithm: token_of_server(issuer, client, resource=audience(algorithm)) for algorithm in COLUMNS}
                for resource, algorithm in resources.items():
                    server.run("resource", "update", resource, "--alg", algorithm)
            tokens = {algorithm: token_with(algorithm, issuer, client, audience(algorithm)) for algorithm in algorithms}
            for written in all_written:
                title = f"{written.library.title} {written.library.installed}"
                try:
                    found = list(faults_of_run(written, table[title], tokens, by_rs256, issuer))
                except Failure as failure:
                    found = [str(failure)]
                faults += [f"{title}: {each}" for each in found]
                names = [f"{algorithm} ({table[title][algorithm] or 'no'})" for algorithm in algorithms]
                print(f"{title}: {', '.join(names)}" + (": FAILED" if found else ""), flush=True)
                # The page says that all refuse a token of before a change of `ed25519_alg`, with the keys of after it.
                if kept and any(written.accepts(name, kept["Ed25519"], issuer, audience("Ed25519")) for name in ["Ed25519", "EdDSA"]):
                    faults.append(f"{title}: accepts a token with one name of Ed25519 by a key with the other")
            kept |= tokens
    if faults:
        raise Failure("\n".join(faults))


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"algorithms.py: {failure}")
