"""The parties: the issuer, and the MCP server behind the verifier's layer."""

import contextlib
import json
import os
import pathlib
import subprocess

from world import Server, free_port, until

HARNESS = pathlib.Path(os.environ["MCP_HARNESS"])


class Issuer(Server):
    """The real server. `assistant` may use every tool, `reader` may list orders, and `stranger` may use another API."""

    def furnish(self):
        self.url = self._event("serving")["issuer"]
        self.port = free_port()
        self.mcp = f"http://127.0.0.1:{self.port}/mcp"
        self.secrets = {}
        for resource in [self.mcp, "https://orders.example"]:
            self.run("resource", "create", resource, "--scope", "orders:read", "--scope", "orders:write")
        for client, allowed in [
            ("assistant", f"{self.mcp}=orders:read,orders:write"),
            ("reader", f"{self.mcp}=orders:read"),
            ("stranger", "https://orders.example=orders:read"),
        ]:
            created = self.run("client", "create", client, "--grant", "client_credentials", "--allow", allowed, "--json")
            self.secrets[client] = json.loads(created)["secret"]["value"]


@contextlib.contextmanager
def mcp_server(program):
    """Returns the issuer, which knows the URL of the MCP server."""
    example = pathlib.Path(program).parent / "examples/mcp_server"
    assert example.exists(), "missing: cargo build --example mcp_server"
    issuer = Issuer(program)
    try:
        origin = f"http://127.0.0.1:{issuer.port}"
        environment = {"ORDERS_ISSUER": issuer.url, "ORDERS_ORIGIN": origin, "ORDERS_LISTEN": f"127.0.0.1:{issuer.port}"}
        process = subprocess.Popen([example], env=environment, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout.readline() == f"MCP at {issuer.mcp}\n"
            yield issuer
        finally:
            process.terminate()
            process.wait(60)
    finally:
        issuer.stop()
        issuer.remove()
