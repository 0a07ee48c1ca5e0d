"""A server with what the load on it needs, and the requests of that load."""

import base64
import json
import subprocess
import tempfile
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

    def furnish(self):
        run, allowed = self.issuer.run, []
        for algorithm in self.algorithms:
            run("resource", "create", resource(algorithm), "--scope", "orders:read", "--alg", algorithm)
            allowed += ["--allow", f"{resource(algorithm)}=orders:read"]
        grants = [flag for grant in ["client_credentials", "password", "refresh_token"] for flag in ["--grant", grant]]
        introspects = ["--introspects", resource("RS256")]
        created = json.loads(run("client", "create", CLIENT, *grants, *allowed, *introspects, "--json"))
        self.authorization = basic(CLIENT, created["secret"]["value"])
        for user in [*self.signing_in, REFRESHING]:
            create = [self.program, "user", "create", user, "--password-stdin", *allowed]
            subprocess.run(create, cwd=self.folder, env=self.issuer.environment, input=f"{PASSWORD}\n", text=True, check=True, capture_output=True)
        for algorithm in self.algorithms:
            self.issuer.wait_for_key(self.authorization, resource(algorithm), algorithm)

    def token(self, **fields):
        """The answer of the token endpoint."""
        request = urllib.request.Request(f"http://{self.address}/oauth/token", form(**fields).encode(), {"Authorization": self.authorization})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def access_token(self):
        return self.token(grant_type="client_credentials", resource=resource("RS256"))["access_token"]

    def sign_in(self):
        return self.token(grant_type="password", username=REFRESHING, password=PASSWORD, resource=resource("RS256"))

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

        def refreshing():
            return driver.refreshing(self.folder, self.authorization, [self.sign_in()["refresh_token"] for _ in range(LOGINS)])

        def introspecting():
            # One that is valid throughout.
            return driver.in_turn(self.folder, [post("/oauth/introspect", token=self.access_token())])

        claims = json.loads(base64.urlsafe_b64decode(self.access_token().split(".")[1] + "=="))
        rows = {
            f"client credentials, {algorithm}": in_turn(post("/oauth/token", grant_type="client_credentials", resource=resource(algorithm)))
            for algorithm in self.algorithms
        }
        signing_in = {"grant_type": "password", "password": PASSWORD, "resource": resource("RS256")}
        rows["password"] = in_turn(*(post("/oauth/token", username=user, **signing_in) for user in self.signing_in))
        rows["refresh token"] = refreshing
        rows["introspection"] = introspecting
        rows["JWKS"] = in_turn(Request("GET", "/.well-known/jwks.json"))
        rows["metadata"] = in_turn(Request("GET", "/.well-known/oauth-authorization-server"))
        if "status" in claims:
            rows["status list"] = in_turn(Request("GET", urllib.parse.urlsplit(claims["status"]["status_list"]["uri"]).path))
        return rows
