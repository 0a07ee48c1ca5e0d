"""The official clients, unmodified: each knows the URL of the MCP server, its id and its secret, and finds the issuer by itself."""
# needs: node=nodejs npm=npm

import base64
import json
import os
import pathlib
import subprocess
import sys
import urllib.error
import urllib.request

from party import HARNESS, mcp_server

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ran(command, issuer, client, secret=None):
    settings = {
        "MCP_URL": issuer.mcp, "ISSUER": issuer.url, "CLIENT_ID": client, "CLIENT_SECRET": secret or issuer.secrets[client],
        "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
    }
    return subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, timeout=120)


def logs_in_and_calls_tools(program, command):
    with mcp_server(program) as issuer:
        done = ran(command, issuer, "assistant")
        assert (done.returncode, done.stdout) == (0, "order 1\nassistant ordered: tea\n"), (done.stdout, done.stderr)
        # Without a scope, the tool that needs it says which one is missing.
        done = ran(command, issuer, "reader")
        refusal, listed = done.stdout.splitlines()
        assert "orders:write" in refusal and listed == "reader ordered: ", (done.stdout, done.stderr)
        # The issuer gives no token for this server to a client of another API, nor to a wrong secret.
        for client, secret in [("stranger", None), ("assistant", "wrong")]:
            done = ran(command, issuer, client, secret)
            assert done.returncode != 0 and "ordered" not in done.stdout, (client, done.stdout, done.stderr)
    return "logs in, calls two tools; without the scope, for another API, and with a wrong secret it does not"


def gd6_the_typescript_client_logs_in_and_calls_tools(program):
    """npm @modelcontextprotocol/client."""
    return logs_in_and_calls_tools(program, ["node", HARNESS / "typescript/client.mjs"])


def gd6_the_python_client_logs_in_and_calls_tools(program):
    """PyPI mcp."""
    return logs_in_and_calls_tools(program, [sys.executable, HARNESS / "python/client.py"])


def gd6_the_rust_client_logs_in_and_calls_tools(program):
    """The crate rmcp."""
    example = pathlib.Path(program).parent / "examples/mcp_client"
    assert example.exists(), "missing: cargo build --example mcp_client"
    return logs_in_and_calls_tools(program, [example])


def answer(url, method="GET", headers=None, body=None):
    try:
        with OPENER.open(urllib.request.Request(url, body, headers or {}, method=method), timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers, refused.read()


def gd6_the_mcp_server_says_where_to_get_a_token(program):
    """RFC 9728: the challenge names the metadata, and the metadata the issuer. A token opens the server, for its own host name alone."""
    with mcp_server(program) as issuer:
        where = issuer.mcp.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")
        for method in ["GET", "POST", "DELETE"]:
            status, headers, _ = answer(issuer.mcp, method)
            assert (status, headers["WWW-Authenticate"]) == (401, f'Bearer resource_metadata="{where}"'), (status, str(headers))
        status, _, body = answer(where)
        expected = {"resource": issuer.mcp, "authorization_servers": [issuer.url], "bearer_methods_supported": ["header"]}
        assert (status, json.loads(body)) == (200, expected), body

        initialize = {
            "jsonrpc": "2.0", "id": 1, "method": "initialize",
            "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}},
        }
        media = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}

        def status_of(client, **more):
            basic = base64.b64encode(f"{client}:{issuer.secrets[client]}".encode()).decode()
            form = {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
            token = json.loads(answer(f"{issuer.url}/oauth/token", "POST", form, b"grant_type=client_credentials")[2])["access_token"]
            return answer(issuer.mcp, "POST", media | {"Authorization": f"Bearer {token}"} | more, json.dumps(initialize).encode())[0]

        # A token for another API opens nothing, and neither does a page that gave this machine a name of its own (DNS rebinding).
        found = status_of("assistant"), status_of("stranger"), status_of("assistant", Host="evil.example")
        assert found[:2] == (200, 401) and found[2] in (403, 421), found
    return "the challenge leads to the issuer"
