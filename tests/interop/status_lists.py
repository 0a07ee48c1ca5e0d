"""SL2: libraries of other languages read the status lists of the server, by the snippets of a page, and learn of revocations in time.

usage: status_lists.py PAGE PROGRAM WORK_FOLDER

Each snippet follows a line `<!-- status: NAME -->` in the page, and runs unchanged beside its harness (`harness/NAME/`) as a process that keeps its
lists, as an API does. Between them and the server stands a proxy, which answers 404 for a while, or repeats an old list.
"""

import base64
import contextlib
import http.client
import http.server
import json
import shutil
import sys
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

from algorithms import Server
from languages import AUDIENCE, DEBIAN, SCOPE, Failure, Library

# From the answer to a revocation until every verifier knows.
BOUND_SECONDS = 12
# For so long, a list that is said to be missing is still used; and by when at most it is not.
MISSING_SECONDS, MISSING_SECONDS_AT_MOST = 60, 80
# From when a list is signed until it expires.
LIST_SECONDS = 3600
# Longer than all steps together.
PROCESS_SECONDS = 300
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


class Passing(http.server.BaseHTTPRequestHandler):
    """Passes a request on to the server, and the answer back."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        is_list = self.path.startswith("/oauth/status-lists/")
        if is_list and self.server.refuses_lists_with:
            self.send_error(self.server.refuses_lists_with)
            return
        with contextlib.closing(http.client.HTTPConnection(self.server.target, timeout=10)) as connection:
            # A cache that repeats a list answers no 304 for another.
            dropped = ["if-none-match"] if is_list and self.server.repeats_lists else []
            connection.request(self.command, self.path, body, {name: value for name, value in self.headers.items() if name.lower() not in dropped})
            answer = connection.getresponse()
            content = answer.read()
        if is_list and answer.status == 200:
            first = self.server.first_lists.setdefault(self.path, content)
            content = first if self.server.repeats_lists else content
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ["connection", "content-length", "date", "server", "transfer-encoding"]:
                self.send_header(name, value)
        if answer.status != 304:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET

    def log_message(self, *_):
        pass


class Proxy(http.server.ThreadingHTTPServer):
    """A proxy in front of the server. It answers every request for a status list with an error while it `refuses_lists_with` one, and while it
    `repeats_lists` with the first that there was."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Passing)
        self.issuer, self.target = f"http://127.0.0.1:{self.server_port}", None
        self.refuses_lists_with, self.repeats_lists, self.first_lists = None, False, {}

    def start(self, target):
        self.target = target
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Asked:
    """A running snippet."""

    def __init__(self, library, process, said):
        self.library, self.process, self.said, self.ahead = library, process, said, 0

    def ask(self, token):
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps({"name": claims["jti"], "claims": claims, "ahead": self.ahead}) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise Failure(f"{self.library.name}: no answer:\n{self.said()}")
        return json.loads(line)

    def is_revoked(self, token):
        answer = self.ask(token)
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


def check_missing(asked, proxy, token, revoked):
    """An answer that a list is missing is not signed: it stops no API that holds the list, and counts when it has been given for a minute."""
    proxy.refuses_lists_with, since, left = 404, time.monotonic(), list(asked)
    for library in LIBRARIES:
        with library.running(proxy.issuer, AUDIENCE) as (process, said):
            if "error" not in Asked(library, process, said).ask(token):
                raise Failure(f"{library.name}: has no list, and says whether a token is revoked")
    while left:
        passed = time.monotonic() - since
        for one in list(left):
            if not one.is_revoked(revoked):
                raise Failure(f"{one.library.name}: forgets a revocation when the list is missing")
            if one.is_revoked(token):
                if passed < MISSING_SECONDS:
                    raise Failure(f"{one.library.name}: believes after {passed:.0f} s that a list is gone")
                left.remove(one)
        if passed > MISSING_SECONDS_AT_MOST:
            raise Failure(f"{', '.join(one.library.name for one in left)}: does not believe after {passed:.0f} s that a list is gone")
        time.sleep(0.5)
    proxy.refuses_lists_with, since = None, time.monotonic()
    while any(one.is_revoked(token) for one in asked):
        if time.monotonic() - since > BOUND_SECONDS:
            raise Failure(f"a list that is there again is not used after {BOUND_SECONDS} s")
        time.sleep(0.5)


def check_interrupted(asked, proxy, token):
    """The minute begins again after an answer that says nothing of the list. The clocks of the snippets pass on without waiting."""
    for refusal, seconds in [(404, 0), (404, 30), (502, 2), (404, 30), (404, 30)]:
        proxy.refuses_lists_with = refusal
        for one in asked:
            one.ahead += BOUND_SECONDS + seconds
            if one.is_revoked(token):
                raise Failure(f"{one.library.name}: believes that a list is gone, although the answers have been 404 for less than a minute")
    proxy.refuses_lists_with = None


def check_expired(asked, proxy, token, revoked):
    """An old list does not replace a newer one before the newer one has expired. From then on the newer one is not used, however often one asks."""
    proxy.repeats_lists = True
    for one in asked:
        one.ahead += BOUND_SECONDS
        if not one.is_revoked(revoked) or one.is_revoked(token):
            raise Failure(f"{one.library.name}: takes an old list for a new one")
    proxy.refuses_lists_with = 502
    for one in asked:
        one.ahead += LIST_SECONDS
        if any("error" not in one.ask(token) for _ in range(3)):
            raise Failure(f"{one.library.name}: uses a list that has expired")
    proxy.refuses_lists_with = None
    for one in asked:
        if one.is_revoked(token) or one.is_revoked(revoked):
            raise Failure(f"{one.library.name}: does not use the list that there is when the last one has expired")


def main():
    if len(sys.argv) != 4:
        raise Failure(__doc__)
    page, program, work = Path(sys.argv[1]).read_text(), sys.argv[2], Path(sys.argv[3]).resolve()
    prepare_all(page, work)
    folder = work / "server"
    folder.mkdir()
    server, proxy = Server(program, folder), Proxy()
    with server.running("--issuer", proxy.issuer) as issuer, contextlib.ExitStack() as open_until_the_end:
        proxy.start(server.listen)
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
            process, said = open_until_the_end.enter_context(library.running(issuer, AUDIENCE, PROCESS_SECONDS))
            asked.append(Asked(library, process, said))
            for token in [own, ended["access_token"], other]:
                if asked[-1].is_revoked(token):
                    raise Failure(f"{library.name}: says of a valid token that it is revoked")
        # RFC 7009: the app signs the user out.
        post(issuer, "/oauth/revoke", shop, token=ended["refresh_token"])
        signed_out = await_revoked(asked, ended["access_token"], [own, other], time.monotonic())
        server.run("client", "disable", "billing")
        disabled = await_revoked(asked, own, [other], time.monotonic())
        check_missing(asked, proxy, other, own)
        check_interrupted(asked, proxy, other)
        check_expired(asked, proxy, other, own)
    for library in LIBRARIES:
        name = library.name
        print(f"{library.title} {library.installed}: learned of a sign-out after {signed_out[name]:.1f} s, of a disabled client after {disabled[name]:.1f} s")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"status_lists.py: {failure}")
