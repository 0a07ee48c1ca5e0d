"""The apps of `examples/express`, by `sealwright attach` and by openid-client."""

import contextlib
import json
import os
import pathlib
import subprocess

from processes import AUDIENCE, EXPRESS, api_behind_guard, running
from world import Server, free_port


@contextlib.contextmanager
def registered(program):
    """A server with the API, and the file with the secret of the app `billing`, which may only read."""
    port = free_port()
    server = Server(program, furnish=False, listen=f"127.0.0.1:{port}", issuer=f"http://127.0.0.1:{port}")
    try:
        server.run("resource", "create", AUDIENCE, "--scope", "orders:read", "--scope", "orders:write")
        created = server.run("client", "create", "billing", "--grant", "client_credentials", "--allow", f"{AUDIENCE}=orders:read", "--json")
        secret = pathlib.Path(server.folder) / "billing.secret"
        secret.touch(mode=0o600)
        secret.write_text(json.loads(created)["secret"]["value"] + "\n")
        yield server, f"http://127.0.0.1:{port}", secret
    finally:
        server.remove()


def printed_by(file, **environment):
    done = subprocess.run(["node", file], cwd=EXPRESS, env=os.environ | environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def each_app_gets_a_token_and_calls_the_api(program):
    """Both print the orders. Neither prints the secret or a token."""
    with registered(program) as (server, issuer, secret), api_behind_guard(program, issuer) as (port, _):
        attached = free_port()
        attach = [
            program, "attach", "--to", f"http://127.0.0.1:{port}", "--listen", f"127.0.0.1:{attached}", "--management-listen", "off",
            "--issuer", issuer, "--client", "billing", "--secret-file", str(secret), "--resource", AUDIENCE, "--log-format", "json",
        ]
        with running(attach, '"serving"'):
            by_attach = printed_by("app-attach.js", ORDERS_URL=f"http://127.0.0.1:{attached}/orders")
        by_library = printed_by(
            "app-openid-client.js", ISSUER=issuer, AUDIENCE=AUDIENCE, CLIENT_ID="billing", CLIENT_SECRET_FILE=str(secret),
            ORDERS_URL=f"http://127.0.0.1:{port}/orders")
        for printed in [by_attach, by_library]:
            assert printed.startswith('200 [{"id":1') and "eyJ" not in printed, printed
    return by_library
