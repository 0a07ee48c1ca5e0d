"""The web application of `examples/express`, in a real browser with a real Redis. The stories are in browser/web.test.js."""
# needs: chromium=chromium redis-server=redis-server

import json
import os
import pathlib
import re
import shutil
import subprocess

from processes import AUDIENCE, EXPRESS, ROOT, api_behind_guard
from world import PASSWORD, Server, free_port

BROWSER = pathlib.Path(__file__).parent / "browser"


def a_user_signs_in_orders_loses_a_permission_stays_signed_in_and_signs_out(program):
    """The server, the API behind the guard, the web application, Redis, and a browser."""
    port = free_port()
    issuer = f"http://127.0.0.1:{port}"
    screenshots = ROOT / "target/screenshots"
    screenshots.mkdir(parents=True, exist_ok=True)
    subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=BROWSER, check=True)
    server = Server(program, furnish=False, listen=f"127.0.0.1:{port}", issuer=issuer)
    try:
        server.run("resource", "create", AUDIENCE, "--scope", "orders:read", "--scope", "orders:write")
        both = ["--allow", f"{AUDIENCE}=orders:read,orders:write"]
        grants = ["--grant", "password", "--grant", "refresh_token"]
        created = json.loads(server.run("client", "create", "shop", "--token-lifetime", "1m", *grants, *both, "--json"))
        server.run("user", "create", "alice", "--password-stdin", *both, typed=PASSWORD + "\n")
        server.run("user", "create", "carol", "--password-stdin", typed=PASSWORD + "\n")
        secret = pathlib.Path(server.folder) / "shop.secret"
        secret.touch(mode=0o600)
        secret.write_text(created["secret"]["value"])
        with api_behind_guard(program, issuer) as (guard, _):
            environment = {
                "ISSUER": issuer, "AUDIENCE": AUDIENCE, "CLIENT_ID": "shop", "CLIENT_SECRET_FILE": str(secret),
                "ORDERS_URL": f"http://127.0.0.1:{guard}/orders", "METRICS": server.metrics_url, "PROGRAM": program,
                "SERVER": str(server.process.pid),
                "FOLDER": server.folder, "EXPRESS": str(EXPRESS), "SCREENSHOTS": str(screenshots), "CHROMIUM": shutil.which("chromium"),
            }
            command = ["node", "--test", "--test-force-exit", "--test-reporter=spec", "web.test.js"]
            done = subprocess.run(command, cwd=BROWSER, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout
    finally:
        server.remove()
    passed = re.search(r"^. pass (\d+)$", done.stdout, re.MULTILINE)
    return f"{passed[1]} stories"
