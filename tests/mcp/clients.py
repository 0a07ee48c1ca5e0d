"""The official clients, unmodified: each knows the URL of the MCP server, its id and its secret, and finds the issuer by itself."""
# needs: node=nodejs npm=npm

import base64
import json
import os
import pathlib
import subprocess
import sys
import urllib.error
import urllib.parse
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
        # Less than every scope: the tool says which one is missing.
        done = ran(command, issuer, "reader")
        assert "orders:write" in done.stdout + done.stderr and "reader ordered: tea" not in done.stdout, (done.stdout, done.stderr)
        # The MCP server admits no token of another API, and the issuer gives none to a wrong secret.
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
    """crates.io rmcp."""
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

        basic = base64.b64encode(f"assistant:{issuer.secrets['assistant']}".encode()).decode()
        form = urllib.parse.urlencode({"grant_type": "client_credentials", "resource": issuer.mcp}).encode()
        _, _, body = answer(f"{issuer.url}/oauth/token", "POST", {"Authorization": f"Basic {basic}"}, form)
        initialize = {
            "jsonrpc": "2.0", "id": 1, "method": "initialize",
            "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}},
        }
        headers = {
            "Authorization": f"Bearer {json.loads(body)['access_token']}", "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        }
        own, other = (answer(issuer.mcp, "POST", headers | host, json.dumps(initialize).encode()) for host in [{}, {"Host": "evil.example"}])
        assert own[0] == 200 and b"protocolVersion" in own[2], own
        # A page that gave this machine a name of its own (DNS rebinding) gets nothing.
        assert other[0] == 403, other
    return "the challenge leads to the issuer"
