"""The parties beside the gateway: issuers, the guard, and an API."""
# needs: node=nodejs

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from gateways import EXAMPLES
from world import free_port

AUDIENCE = "https://orders.example"
HERE = pathlib.Path(__file__).parent


def ended(process):
    if process.poll() is None:
        process.terminate()
        process.wait(timeout=60)


class Api:
    """An API, and what it received since it was last asked."""

    def __init__(self, language):
        command = {"Python": [sys.executable, HERE / "api.py"], "Node": [shutil.which("node"), HERE / "api.mjs"]}[language]
        self.language = language
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port, self.reports = json.loads(self.process.stdout.readline())

    def received(self):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.reports}/", timeout=60) as report:
            return json.load(report)


@contextlib.contextmanager
def api(language):
    it = Api(language)
    try:
        yield it
    finally:
        ended(it.process)


class HostileIssuer:
    """The test issuer: every kind of token that must be refused, and how."""

    def __init__(self, program):
        command = pathlib.Path(program).parent / "examples/test_issuer"
        assert command.exists(), "missing: cargo build --example test_issuer"
        self.process = subprocess.Popen([command, AUDIENCE, "orders:read"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        tokens = json.loads(self.process.stdout.readline())
        self.issuer, self.good = tokens["issuer"], tokens["good"]
        # A token that loses the spaces at its ends on the way is a good one. One with a line break cannot be sent.
        self.hostile = [token for token in tokens["hostile"] if token["in_header"] != "trimmed" and not set("\r\n") & set(token["token"])]
        assert len(self.hostile) > 200, len(self.hostile)
        self.without_scope = tokens["without_scope"]


@contextlib.contextmanager
def hostile_issuer(program):
    it = HostileIssuer(program)
    try:
        yield it
    finally:
        it.process.stdin.close()
        it.process.wait(timeout=60)


class Rules:
    """The rules of the examples, with the issuers of this run."""

    def __init__(self, program, issuers):
        self.program, self.folder = program, tempfile.mkdtemp()
        example = (EXAMPLES / "rules.toml").read_text()
        issuer, rules = example.split("[[rule]]", 1)
        blocks = [issuer.replace("http://127.0.0.1:8080", url) for url in issuers]
        assert len(set(blocks)) == len(issuers), "the address of the issuer is not replaced"
        self.file = f"{self.folder}/rules.toml"
        pathlib.Path(self.file).write_text("\n".join(blocks) + "[[rule]]" + rules)
        self.known = {}

    def decide(self, method, target):
        """What they say about a request: `public`, `token` or `denied`."""
        if (method, target) not in self.known:
            decided = [
                expected
                for expected in ["public", "token", "denied"]
                if self._run("--check", self.file, method, target, "--expect", expected).returncode == 0
            ]
            assert len(decided) == 1, f"{method} {target}: {decided}"
            self.known[method, target] = decided[0]
        return self.known[method, target]

    def _run(self, *arguments):
        return subprocess.run([self.program, "guard", *arguments], cwd=self.folder, capture_output=True, text=True, timeout=60)


@contextlib.contextmanager
def rules(program, issuers):
    it = Rules(program, issuers)
    try:
        yield it
    finally:
        shutil.rmtree(it.folder)


@contextlib.contextmanager
def guard(program, rules, kind, port=None, management=0, settings=()):
    """Returns its port."""
    port = port or free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEALWRIGHT_")}
    command = [program, "guard", "--rules", rules.file, "--gateway", kind, "--listen", f"127.0.0.1:{port}", "--behind-proxy", "127.0.0.1",
               "--management-listen", f"127.0.0.1:{management}", "--log-format", "json", *settings]
    with tempfile.NamedTemporaryFile("w+", suffix=".log") as log:
        process = subprocess.Popen(command, cwd=rules.folder, env=environment, stderr=log)
        try:
            deadline = time.monotonic() + 60
            while '"serving"' not in pathlib.Path(log.name).read_text():
                assert process.poll() is None and time.monotonic() < deadline, pathlib.Path(log.name).read_text()
                time.sleep(0.05)
            yield port
        finally:
            ended(process)


def decisions(management, outcome):
    """How many requests a guard with this management port decided in this way."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{management}/metrics", timeout=60) as answer:
        line = f'sealwright_guard_requests_total{{outcome="{outcome}"}} '
        return sum(int(said.removeprefix(line)) for said in answer.read().decode().splitlines() if said.startswith(line))


@contextlib.contextmanager
def guard_that_admits(said, port):
    """Admits every request, whatever it is, and says this about the caller: the gateway alone is between a forged header and the API."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            for name, value in said.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
