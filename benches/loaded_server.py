"""A server with what the load on it needs, and the requests of that load."""

import base64
import contextlib
import json
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request

import driver
import processes
from driver import Request
from issuer import Issuer, basic

ALGORITHMS, CLIENT, PASSWORD = ["RS256", "PS256", "ES256", "Ed25519"], "shop", "plum trousers at the gate"
REFRESHING = "bob"
# More than connections: each is used once.
LOGINS = 64
PATIENCE = 60


def resource(algorithm):
    return f"https://{algorithm.lower()}.example"


def form(**fields):
    return urllib.parse.urlencode(fields)


class LoadedServer:
    """A server in a folder of its own. `furnish` gives its database a resource for each algorithm, a client, and users."""

    # Each sign-in of a user may end an older login of the same one, so none of these users refreshes.
    signing_in = ["alice"]
    algorithms = ALGORITHMS

    def __init__(self, stack, name, program, settings={}):
        self.name, self.program, self.settings = name, program, settings
        self.folder = stack.enter_context(tempfile.TemporaryDirectory())
        self.start()
        stack.callback(lambda: self.stop())
        self.wait()

    def start(self):
        self.issuer = Issuer(self.program, self.folder, self.settings)

    def wait(self):
        self.issuer.wait()
        self.address = self.issuer.address

    def stop(self):
        self.issuer.process.terminate()
        self.issuer.process.wait()

    def restart(self):
        """Starts it once more, and measures when the first token is there. The address stays, as that of a deployed server does."""
        self.stop()
        self.settings = self.settings | {"SEALWRIGHT_LISTEN": self.address}
        begun = time.perf_counter()
        self.start()
        while True:
            with contextlib.suppress(OSError):
                self.access_token()
                break
            assert self.issuer.process.poll() is None and time.perf_counter() - begun < PATIENCE, self.issuer.log.read_text()
            time.sleep(0.002)
        self.until_first_token = time.perf_counter() - begun
        self.wait()
        self.idle_mib = self.resident_mib()

    def furnish(self):
        run, allowed = self.issuer.run, []
        for algorithm in self.algorithms:
            run("resource", "create", resource(algorithm), "--scope", "orders:read", "--alg", algorithm)
            allowed += ["--allow", f"{resource(algorithm)}=orders:read"]
        grants = [flag for grant in ["client_credentials", "password", "refresh_token"] for flag in ["--grant", grant]]
        introspects = ["--introspects", self.first_resource]
        created = json.loads(run("client", "create", CLIENT, *grants, *allowed, *introspects, "--json"))
        self.authorization = basic(CLIENT, created["secret"]["value"])
        for user in [*self.signing_in, REFRESHING]:
            create = [self.program, "user", "create", user, "--password-stdin", *allowed]
            subprocess.run(create, cwd=self.folder, env=self.issuer.environment, input=f"{PASSWORD}\n", text=True, check=True, capture_output=True)
        for algorithm in self.algorithms:
            self.issuer.wait_for_key(self.authorization, resource(algorithm), algorithm)

    @property
    def first_resource(self):
        """The resource of the tokens whose algorithm does not matter."""
        return resource(self.algorithms[0])

    def token(self, **fields):
        """The answer of the token endpoint."""
        request = urllib.request.Request(f"http://{self.address}/oauth/token", form(**fields).encode(), {"Authorization": self.authorization})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def access_token(self):
        return self.token(grant_type="client_credentials", resource=self.first_resource)["access_token"]

    def sign_in(self):
        return self.token(grant_type="password", username=REFRESHING, password=PASSWORD, resource=self.first_resource)

    def refreshing(self):
        """The script that uses refresh tokens."""
        return driver.refreshing(self.folder, self.authorization, [self.sign_in()["refresh_token"] for _ in range(LOGINS)])

    def cpu_seconds(self):
        return self.issuer.cpu_seconds()

    def resident_mib(self, field="VmRSS"):
        return processes.resident_mib(self.issuer.process.pid, field)

    def requests(self):
        """The rows, by their names: each makes the script that sends its requests."""
        def post(path, **fields):
            return Request("POST", path, self.authorization, form(**fields))

        def in_turn(*requests):
            return lambda: driver.in_turn(self.folder, requests)

        def introspecting():
            # One that is valid throughout.
            return driver.in_turn(self.folder, [post("/oauth/introspect", token=self.access_token())])

        claims = json.loads(base64.urlsafe_b64decode(self.access_token().split(".")[1] + "=="))
        rows = {
            f"client credentials, {algorithm}": in_turn(post("/oauth/token", grant_type="client_credentials", resource=resource(algorithm)))
            for algorithm in self.algorithms
        }
        signing_in = {"grant_type": "password", "password": PASSWORD, "resource": self.first_resource}
        rows["password"] = in_turn(*(post("/oauth/token", username=user, **signing_in) for user in self.signing_in))
        rows["refresh token"] = self.refreshing
        rows["introspection"] = introspecting
        rows["JWKS"] = in_turn(Request("GET", "/.well-known/jwks.json"))
        rows["metadata"] = in_turn(Request("GET", "/.well-known/oauth-authorization-server"))
        if "status" in claims:
            rows["status list"] = in_turn(Request("GET", urllib.parse.urlsplit(claims["status"]["status_list"]["uri"]).path))
        return rows
