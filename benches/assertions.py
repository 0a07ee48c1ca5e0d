"""What a client with a key costs beside one with a secret: CPU time of the server per token by client credentials, in turn, in one run.

usage: assertions.py RELEASE_PROGRAM [DATABASE_URL]

Needs wrk, and the package cryptography. Tokens and assertions are signed by ES256. The database must be empty; without one, it is SQLite in a new folder.
"""

import base64
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

LISTEN, ROUNDS, SECONDS, ASSERTIONS = "127.0.0.1:18080", 5, 2, 40_000
ISSUER = f"http://localhost:{LISTEN.split(':')[1]}"
FORM = '["Content-Type"]="application/x-www-form-urlencoded"'
BY_SECRET = 'request = function() return wrk.format("POST", "/oauth/token", {%s, ["Authorization"]="Basic %s"}, "grant_type=client_credentials") end'
BY_KEY = """local bodies, next = {}, 0
for line in io.lines("bodies") do bodies[#bodies + 1] = line end
request = function() next = next + 1; return wrk.format("POST", "/oauth/token", {%s}, bodies[next] or "grant_type=none") end"""
KIND = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def assertion(key, kid):
    now = int(time.time())
    claims = {"iss": "key", "sub": "key", "aud": ISSUER, "iat": now, "exp": now + 600, "jti": uuid.uuid4().hex}
    message = ".".join(encoded(json.dumps(part).encode()) for part in [{"alg": "ES256", "kid": kid}, claims])
    r, s = utils.decode_dss_signature(key.sign(message.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{message}.{encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def cpu_seconds(process):
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def microseconds_per_token(server, script):
    before = cpu_seconds(server)
    said = subprocess.run(["wrk", "-t1", "-c64", f"-d{SECONDS}s", "-s", script, f"http://{LISTEN}"], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said:
        sys.exit(said)
    count = int(next(line for line in said.splitlines() if "requests in" in line).split()[0])
    return (cpu_seconds(server) - before) / count * 1e6


def main():
    program = Path(sys.argv[1]).resolve()
    os.chdir(tempfile.mkdtemp())
    if sys.argv[2:]:
        os.environ["SEALWRIGHT_DATABASE_URL"] = sys.argv[2]

    def run(*command):
        return subprocess.run([program, *command], capture_output=True, text=True, check=True).stdout

    flags = ["--listen", LISTEN, "--management-listen", "off", "--log", "warn", "--connections-per-source", "2048"]
    with subprocess.Popen([program, "serve", *flags], stderr=subprocess.DEVNULL) as server:
        try:
            while subprocess.run([program, "client", "list"], capture_output=True).returncode:
                time.sleep(0.1)
            run("resource", "create", "https://orders.example", "--scope", "orders:read", "--alg", "ES256")
            create = ["client", "create", "--grant", "client_credentials", "--allow", "https://orders.example=orders:read", "--json"]
            secret = json.loads(run(*create, "secret"))["secret"]["value"]
            kid = json.loads(run(*create, "key", "--key", "key.pem"))["keys"][0]["kid"]
            key = serialization.load_pem_private_key(Path("key.pem").read_bytes(), None)
            Path("secret.lua").write_text(BY_SECRET % (FORM, base64.b64encode(f"secret:{secret}".encode()).decode()))
            Path("key.lua").write_text(BY_KEY % FORM)
            # The first key for ES256 signs after seconds.
            time.sleep(5)
            microseconds_per_token(server, "secret.lua")
            rounds = []
            for _ in range(ROUNDS):
                bodies = (f"grant_type=client_credentials&client_assertion_type={KIND}&client_assertion={assertion(key, kid)}\n" for _ in range(ASSERTIONS))
                Path("bodies").write_text("".join(bodies))
                rounds.append([microseconds_per_token(server, "secret.lua"), microseconds_per_token(server, "key.lua")])
                print("secret {:.0f} us, key {:.0f} us".format(*rounds[-1]), flush=True)
            print(f"key / secret: {statistics.median(by_key / by_secret for by_secret, by_key in rounds):.2f} (median of {ROUNDS})")
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
