"""The official clients, unmodified: each knows the URL of the MCP server, its id and its secret, and finds the issuer by itself."""
# needs: node=nodejs npm=npm

import base64
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import urllib.error
import urllib.request

from party import HARNESS, mcp_server
from world import until

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def settings(issuer, client, secret=None):
    """What a client is configured with, as environment variables."""
    own = {
        "MCP_URL": issuer.mcp, "ISSUER": issuer.url, "CLIENT_ID": client, "CLIENT_SECRET": secret or issuer.secrets[client],
        "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost",
    }
    return os.environ | own


def ran(command, issuer, client, secret=None):
    environment = settings(issuer, client, secret)
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)


def logs_in_and_calls_tools(program, command):
    with mcp_server(program) as issuer:
        done = ran(command, issuer, "assistant")
        assert (done.returncode, done.stdout) == (0, "order 1\nassistant ordered: tea\n"), (done.stdout, done.stderr)
        # Without a scope, the tool that needs it says which one is missing.
        done = ran(command, issuer, "reader")
        refusal, listed = done.stdout.splitlines()
        assert "orders:write" in refusal and listed == "reader ordered: ", (done.stdout, done.stderr)
        # The issuer gives no token for this server to a client of another API, nor to a wrong secret, and the client says so.
        for client, secret, code in [("stranger", None, "invalid_target"), ("assistant", "wrong", "invalid_client")]:
            done = ran(command, issuer, client, secret)
            assert done.returncode != 0 and not done.stdout and code in done.stderr, (client, done.stdout, done.stderr)
    return "logs in, calls two tools; without the scope, for another API, and with a wrong secret it does not"


TYPESCRIPT = ["node", HARNESS / "typescript/client.mjs"]
PYTHON = [sys.executable, HARNESS / "python/client.py"]


def rust(program):
    example = pathlib.Path(program).parent / "examples/mcp_client"
    assert example.exists(), "missing: cargo build --example mcp_client"
    return [example]


def gd6_the_typescript_client_logs_in_and_calls_tools(program):
    """npm @modelcontextprotocol/client."""
    return logs_in_and_calls_tools(program, TYPESCRIPT)


def gd6_the_python_client_logs_in_and_calls_tools(program):
    """PyPI mcp."""
    return logs_in_and_calls_tools(program, PYTHON)


def gd6_the_rust_client_logs_in_and_calls_tools(program):
    """The crate rmcp."""
    return logs_in_and_calls_tools(program, rust(program))


def answer(url, method="GET", headers=None, body=None):
    try:
        with OPENER.open(urllib.request.Request(url, body, headers or {}, method=method), timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers, refused.read()


def token(issuer, client):
    basic = base64.b64encode(f"{client}:{issuer.secrets[client]}".encode()).decode()
    form = {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
    return json.loads(answer(f"{issuer.url}/oauth/token", "POST", form, b"grant_type=client_credentials")[2])["access_token"]


INITIALIZE = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}},
}


def opened_by(issuer, token, **more):
    """The status of an MCP request with this token."""
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Authorization": f"Bearer {token}"}
    return answer(issuer.mcp, "POST", headers | more, json.dumps(INITIALIZE).encode())[0]


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
        # A token for another API opens nothing, and neither does a page that gave this machine a name of its own (DNS rebinding).
        own, other = token(issuer, "assistant"), token(issuer, "stranger")
        found = opened_by(issuer, own), opened_by(issuer, other), opened_by(issuer, own, Host="evil.example")
        assert found == (200, 401, 403), found
    return "the challenge leads to the issuer"


def gd6_clients_whose_tokens_were_revoked_get_others(program):
    """A 401 makes the TypeScript and the Python client log in again. (The Rust client does not: `docs/mcp.md`.)"""
    with mcp_server(program) as issuer, contextlib.ExitStack() as running:
        before = token(issuer, "assistant")
        assert opened_by(issuer, before) == 200
        clients = []
        for command in [TYPESCRIPT, PYTHON]:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            client = subprocess.Popen(command, env=settings(issuer, "assistant") | {"PAUSE": "1"}, text=True, **pipes)
            running.callback(client.kill)
            clients.append(client)
        for client in clients:
            first = client.stdout.readline()
            assert first.startswith("order "), (first, client.stderr.read())
        issuer.run("client", "revoke-tokens", "assistant", "--yes")
        took = until(lambda: opened_by(issuer, before) == 401, 30, "the MCP server refuses the token")
        for client in clients:
            rest, errors = client.communicate("go on\n", timeout=120)
            assert (client.returncode, rest) == (0, "assistant ordered: tea, tea\n"), (rest, errors)
        issued = [line for line in open(issuer.log.name) if '"token.issued"' in line]
        assert len(issued) == 1 + 2 * len(clients), len(issued)
    return f"the MCP server refuses the tokens after {took:.0f} s, and each client gets another"
