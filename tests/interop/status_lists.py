"""SL2: libraries of other languages read the status lists of the server, by the snippets of a page, and learn of revocations in time.

usage: status_lists.py PAGE PROGRAM WORK_FOLDER

Each snippet follows a line `<!-- status: NAME -->` in the page, and runs unchanged beside its harness (`harness/NAME/`) as a process that keeps its
lists, as an API does.
"""

import base64
import contextlib
import json
import shutil
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

from algorithms import Server
from languages import AUDIENCE, DEBIAN, SCOPE, Failure, Library

# From the answer to a revocation until every verifier knows.
BOUND_SECONDS = 12
PASSWORD = "plum trousers at the gate"

LIBRARIES = [
    Library("jwt-status-list", "@sd-jwt/jwt-status-list", ["node", "npm"],
            {f"jwt-status-list/{file}": file for file in ["harness.js", "package.json", "package-lock.json"]}, "snippet.js",
            [["npm", "ci", "--silent", "--no-audit", "--no-fund"]],
            lambda folder: ["node", "harness.js"], (r'"@sd-jwt/jwt-status-list": "(\d+\.\d+)', "package.json"), kind="status"),
    Library("token-status-list", "token-status-list", ["python3"],
            {f"token-status-list/{file}": file for file in ["harness.py", "requirements.txt"]}, "snippet.py",
            [["python3", "-m", "venv", "venv"],
             ["venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"]],
            lambda folder: [folder / "venv/bin/python", "harness.py"], (r"token-status-list==(\d+\.\d+)", "requirements.txt"), kind="status"),
]


class Asked:
    """A running snippet."""

    def __init__(self, library, process, said):
        self.library, self.process, self.said = library, process, said

    def is_revoked(self, token):
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps({"name": claims["jti"], "claims": claims}) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise Failure(f"{self.library.name}: no answer:\n{self.said()}")
        answer = json.loads(line)
        if "error" in answer:
            raise Failure(f"{self.library.name}: {answer['error']}")
        return answer["revoked"]


def prepare_all(page, work):
    """Installs every library below `work`, with its snippet of the page."""
    wanted = sorted({program for library in LIBRARIES for program in library.needs})
    if lacking := [f"missing: {program} (Debian: {DEBIAN.get(program, program)})" for program in wanted if not shutil.which(program)]:
        raise Failure("\n".join(lacking))
    for library in LIBRARIES:
        library.prepare(page, work / library.name)


def post(issuer, path, client, **form):
    # Neither an id nor a secret that Sealwright makes changes when it is form-encoded (RFC 6749 section 2.3.1).
    pair = f"{client['client_id']}:{client['secret']['value']}"
    headers = {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
    with urllib.request.urlopen(urllib.request.Request(issuer + path, urllib.parse.urlencode(form).encode(), headers)) as answer:
        return answer.read()


def await_revoked(asked, token, others, since):
    """The seconds until each library knows that a token is revoked. It must not say so of the others."""
    took, left = {}, list(asked)
    while left:
        for one in list(left):
            if one.is_revoked(token):
                took[one.library.name] = time.monotonic() - since
                left.remove(one)
        if left and time.monotonic() - since > BOUND_SECONDS:
            raise Failure(f"{', '.join(one.library.name for one in left)}: does not know of a revocation after {BOUND_SECONDS} s")
        time.sleep(0.2)
    for one in asked:
        if any(one.is_revoked(other) for other in others):
            raise Failure(f"{one.library.name}: says of a valid token that it is revoked")
    return took


def main():
    if len(sys.argv) != 4:
        raise Failure(__doc__)
    page, program, work = Path(sys.argv[1]).read_text(), sys.argv[2], Path(sys.argv[3]).resolve()
    prepare_all(page, work)
    folder = work / "server"
    folder.mkdir()
    server = Server(program, folder)
    with server.running() as issuer, contextlib.ExitStack() as open_until_the_end:
        server.run("resource", "create", AUDIENCE, "--scope", SCOPE)
        create = lambda *arguments: json.loads(server.run(*arguments, "--allow", f"{AUDIENCE}={SCOPE}", "--json"))
        billing = create("client", "create", "billing", "--grant", "client_credentials")
        shop = create("client", "create", "shop", "--grant", "password", "--grant", "refresh_token")
        server.run("user", "create", "alice", "--password-stdin", "--allow", f"{AUDIENCE}={SCOPE}", typed=PASSWORD + "\n")
        own = json.loads(post(issuer, "/oauth/token", billing, grant_type="client_credentials"))["access_token"]
        sign_in = lambda: json.loads(post(issuer, "/oauth/token", shop, grant_type="password", username="alice", password=PASSWORD))
        ended, other = sign_in(), sign_in()["access_token"]
        asked = []
        for library in LIBRARIES:
            process, said = open_until_the_end.enter_context(library.running(issuer, AUDIENCE))
            asked.append(Asked(library, process, said))
            for token in [own, ended["access_token"], other]:
                if asked[-1].is_revoked(token):
                    raise Failure(f"{library.name}: says of a valid token that it is revoked")
        # RFC 7009: the app signs the user out.
        post(issuer, "/oauth/revoke", shop, token=ended["refresh_token"])
        signed_out = await_revoked(asked, ended["access_token"], [own, other], time.monotonic())
        server.run("client", "disable", "billing")
        disabled = await_revoked(asked, own, [other], time.monotonic())
    for library in LIBRARIES:
        name = library.name
        print(f"{library.title} {library.installed}: learned of a sign-out after {signed_out[name]:.1f} s, of a disabled client after {disabled[name]:.1f} s")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"status_lists.py: {failure}")
