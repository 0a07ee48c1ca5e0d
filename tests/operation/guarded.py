"""An issuer of tokens, an API and a guard in front of it, as processes."""
# needs: node=nodejs npm=npm curl=curl

import contextlib
import functools
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import threading
import time

from auth_request import ended
from world import until

AUDIENCE = "https://orders.example"
APIS = pathlib.Path(__file__).parent / "apis"


# How long tokens are valid, in seconds: longer than any row takes.
LIFETIME = 24 * 3600


class Issuer:
    """The example `test_issuer`, unchanged."""

    def __init__(self, process):
        self.process, self.lock = process, threading.Lock()
        self.url = json.loads(process.stdout.readline())["issuer"]

    def token(self, scope="", **claims):
        with self.lock:
            # Its clock stands.
            claims = {"scope": scope, "exp": int(time.time()) + LIFETIME, **claims}
            self.process.stdin.write(json.dumps(claims) + "\n")
            self.process.stdin.flush()
            return self.process.stdout.readline().strip()


@contextlib.contextmanager
def issuer(program):
    example = pathlib.Path(program).parent / "examples/test_issuer"
    assert example.exists(), "cargo build --example test_issuer"
    command = [example, AUDIENCE, "orders:read"]
    with ended(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)) as process:
        yield Issuer(process)


class Guard:
    def __init__(self, process, log, event):
        self.process, self.log_path = process, log
        self.address, self.management_url = event["listen"], event["metrics"].removesuffix("/metrics")
        self.url = f"{'https' if event['tls'] else 'http'}://{self.address}"

    def peak_mib(self):
        """The most memory that was resident at one time."""
        status = open(f"/proc/{self.process.pid}/status").read()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024

    def log(self):
        return open(self.log_path).read()

    def events(self):
        # The last line may be half written.
        return [json.loads(line) for line in self.log().splitlines(keepends=True) if line.endswith("\n")]

    def _managed(self, path):
        command = ["curl", "-sS", "--noproxy", "*", "-w", "\n%{http_code}", f"{self.management_url}{path}"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.rpartition("\n")

    def metrics(self):
        return self._managed("/metrics")[0]

    def is_ready(self):
        return self._managed("/health/ready")[2] == "200"


@contextlib.contextmanager
def guard(program, issuer, rules, upstream, **settings):
    """A guard that forwards to `upstream` by these rules, and has the issuer's keys."""
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "rules.toml").write_text(f'[[issuer]]\nissuer = "{issuer.url}"\naudience = "{AUDIENCE}"\n{rules}')
    own = {"rules": "rules.toml", "upstream": upstream, "listen": "127.0.0.1:0", "management_listen": "127.0.0.1:0", "log_format": "json"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEALWRIGHT_")}
    environment |= {f"SEALWRIGHT_GUARD_{name.upper()}": value for name, value in (own | settings).items()}
    log = open(folder / "log", "w")
    try:
        with ended(subprocess.Popen([program, "guard"], env=environment, stderr=log, cwd=folder)) as process:
            for _ in range(600):
                lines = [line for line in open(log.name) if line.endswith("\n")]
                serving = [event for event in map(json.loads, lines) if event.get("message") == "serving"]
                if serving:
                    break
                assert process.poll() is None, open(log.name).read()
                time.sleep(0.05)
            assert serving, "it does not serve"
            started = Guard(process, log.name, serving[0])
            until(started.is_ready, 60, "it has the keys")
            yield started
            assert process.poll() is None, started.log()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def apis():
    """A folder with the APIs and the libraries that they use."""
    folder = pathlib.Path(tempfile.mkdtemp()) / "apis"
    shutil.copytree(APIS, folder)
    run_in(folder, "npm", "ci", "--silent", "--no-audit", "--no-fund")
    return folder


def run_in(folder, *command):
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, f"`{' '.join(map(str, command))}` failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


@contextlib.contextmanager
def api(*command, **variables):
    """An API that writes its ports as one line of JSON."""
    with ended(subprocess.Popen(command, cwd=apis(), env=os.environ | variables, stdout=subprocess.PIPE, text=True)) as process:
        yield json.loads(process.stdout.readline())
