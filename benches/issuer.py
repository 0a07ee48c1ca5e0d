"""A server on SQLite with many clients, for the benchmarks beside it."""

import base64
import concurrent.futures
import contextlib
import hashlib
import json
import os
import pathlib
import re
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
import zlib

import processes


class Issuer:
    def __init__(self, program, folder, settings):
        self.program, self.folder = program, folder
        listen = {"SEALWRIGHT_MANAGEMENT_LISTEN": "127.0.0.1:0", "SEALWRIGHT_LISTEN": "127.0.0.1:0"}
        self.environment = {**os.environ, **listen, **settings}
        self.log = pathlib.Path(folder, "log")
        self.process = subprocess.Popen([program, "serve", "--log-format=json"], cwd=folder, env=self.environment, stderr=self.log.open("w"))
        self.address = self.metrics = self.url = None

    def wait(self):
        while self.address is None:
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
            events = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
            serving = next((event for event in events if event["message"] == "serving"), None)
            if serving:
                self.address, self.metrics, self.url = serving["listen"], serving["metrics"], serving["issuer"]

    def run(self, *command):
        done = subprocess.run([self.program, *command], cwd=self.folder, env=self.environment, check=True, capture_output=True, text=True)
        return done.stdout

    @contextlib.contextmanager
    def repeating(self, command, every):
        """Runs the command that `command` makes of a number every so many seconds. Yields what the runs have printed."""
        done, runs, begun = threading.Event(), [], time.monotonic()

        def repeat():
            while not done.wait(max(0, begun + (len(runs) + 1) * every - time.monotonic())):
                runs.append(self.run(*command(len(runs))))

        with concurrent.futures.ThreadPoolExecutor() as pool:
            repeated = pool.submit(repeat)
            try:
                yield runs
            finally:
                done.set()
                # Fails if a run has.
                repeated.result()

    def metric(self, name):
        """The value of a metric without labels."""
        text = urllib.request.urlopen(self.metrics).read().decode()
        return float(re.search(rf"^sealwright_{name} (\S+)", text, re.M)[1])

    def cpu_seconds(self):
        return processes.cpu_seconds(self.process.pid)

    def wait_for_key(self, authorization, resource, algorithm):
        """The first key of an algorithm of a new issuer signs after seconds."""
        form = urllib.parse.urlencode({"grant_type": "client_credentials", "resource": resource}).encode()
        for _ in range(120):
            request = urllib.request.Request(f"http://{self.address}/oauth/token", form, {"Authorization": authorization})
            header = json.load(urllib.request.urlopen(request))["access_token"].split(".")[0]
            if json.loads(base64.urlsafe_b64decode(header + "=="))["alg"] == algorithm:
                return
            time.sleep(0.5)
        sys.exit(f"no token is signed with {algorithm}")

    def wrk_script(self, name, authorization, form):
        """Writes a script by which wrk requests tokens, and returns its path."""
        path = f"{self.folder}/{name}.lua"
        with open(path, "w") as file:
            file.write('wrk.method, wrk.body = "POST", "%s"\n' % form)
            file.write('wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"\n')
            file.write('wrk.headers["Authorization"] = "%s"\n' % authorization)
        return path

    def create_clients(self, names):
        """Creates a resource, the client `first` and these clients, and returns their secrets by name."""
        self.run("resource", "create", "https://orders.example", "--scope", "orders:read")
        first = ["first", "--grant", "client_credentials", "--allow", "https://orders.example=orders:read"]
        secrets = {"first": json.loads(self.run("client", "create", *first, "--json"))["secret"]["value"]}
        # Rows like those of the client that the command created: a command per client would take minutes.
        database = sqlite3.connect(f"{self.folder}/sealwright.db", timeout=30)
        columns = "auth_methods, grants, token_lifetime, created_at, disabled_at"
        with database:
            for number, name in enumerate(names):
                id, secret = client_secret(number)
                database.execute(f"INSERT INTO clients (id, {columns}) SELECT ?, {columns} FROM clients WHERE id = 'first'", [name])
                database.execute(
                    "INSERT INTO client_permissions (client_id, audience, scope) "
                    "SELECT ?, audience, scope FROM client_permissions WHERE client_id = 'first'",
                    [name])
                database.execute(
                    "INSERT INTO client_secrets (id, client_id, digest, created_at) SELECT ?, ?, ?, created_at FROM clients WHERE id = 'first'",
                    [id, name, secret_digest(secret)])
                secrets[name] = secret
            database.execute("UPDATE epochs SET n = n + 1 WHERE kind = 'registry'")
        database.close()
        time.sleep(2)
        return secrets


def base64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def secret_digest(secret):
    """What the database has of a secret."""
    return base64url(hashlib.sha256(secret.encode()).digest())


def basic(client, secret):
    """The `Authorization` of a client."""
    return "Basic " + base64.b64encode(f"{client}:{secret}".encode()).decode()


def client_secret(number, key=None):
    """The id of a secret, and the secret: prefix, id, 256 random bits or these, CRC-32."""
    id = f"{number:016x}"
    body = f"sw_{id}{base64url(key or os.urandom(32))}"
    return id, body + base64url(zlib.crc32(body.encode()).to_bytes(4, "big"))


@contextlib.contextmanager
def issuer(program, settings={}):
    """A server with these settings, by the names of their environment variables."""
    with tempfile.TemporaryDirectory() as folder:
        issuer = Issuer(os.path.abspath(program), folder, settings)
        try:
            issuer.wait()
            yield issuer
        finally:
            issuer.process.terminate()
            issuer.process.wait()
