"""The scenarios of npm @modelcontextprotocol/conformance that need no browser, against the server's metadata and our client."""
# needs: node=nodejs npm=npm

import json
import os
import pathlib
import subprocess
import tempfile

from party import HARNESS, Issuer

FOLDER = HARNESS / "conformance"


def checks(program, *arguments):
    """What the suite found: whether it passes, and each check that is not information, as (id, status, complaint)."""
    with tempfile.TemporaryDirectory() as results:
        # The suite needs Node 22, which is among its packages.
        environment = os.environ | {"SEALWRIGHT": str(program), "NO_PROXY": "127.0.0.1,localhost", "PATH": f"{FOLDER}/node_modules/.bin:{os.environ['PATH']}"}
        command = ["node", FOLDER / "node_modules/@modelcontextprotocol/conformance/dist/index.js", *arguments, "--output-dir", results]
        done = subprocess.run(command, cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=300)
        found = list(pathlib.Path(results).rglob("checks.json"))
        assert len(found) == 1, (done.stdout, done.stderr)
        ran = [check for check in json.loads(found[0].read_text()) if check["status"] != "INFO"]
        return done.returncode == 0, [(check["id"], check["status"], check.get("errorMessage")) for check in ran]


def gd6_the_metadata_lacks_what_codes_need_and_nothing_else(program):
    """The one scenario for metadata wants an authorization server that issues codes. Each complaint is about a member that would be untrue here."""
    issuer = Issuer(program)
    try:
        _, found = checks(program, "authorization", "--url", issuer.url, "--scenario", "authorization-server-metadata-endpoint")
    finally:
        issuer.stop()
        issuer.remove()
    absent = ["response_types_supported", "code_challenge_methods_supported"]
    complaint = ", ".join(f'Response body does not include valid "{member}" claim' for member in absent)
    assert found[0] == ("authorization-server-metadata", "FAILURE", complaint), found
    assert [check[:2] for check in found[1:]] == [("authorization-server-metadata-cimd", "WARNING")], found
    return "no response type code, no PKCE, no client ID metadata documents"


def passes(program, scenario, check):
    """Runs a scenario for clients; this check must be among those that succeeded, and none may fail. The suite must exit with 0, too."""
    passed, found = checks(program, "client", "--command", f"node {FOLDER}/client.mjs", "--scenario", scenario)
    assert passed and all(status == "SUCCESS" for _, status, _ in found), found
    assert check in [name for name, *_ in found], found
    return f"{len(found)} checks"


def gd6_our_client_gets_a_token_by_client_credentials(program):
    """`sealwright attach` finds the token endpoint, authenticates by HTTP Basic, and attaches the token."""
    return passes(program, "auth/client-credentials-basic", "client-credentials-basic-auth")


def gd6_our_client_gets_a_token_by_a_private_key(program):
    """`sealwright attach` signs an assertion whose audience is the issuer, and has no secret."""
    return passes(program, "auth/client-credentials-jwt", "client-credentials-jwt-verified")


def gd6_our_client_needs_no_registration(program):
    """At an issuer that registers no clients by itself, it uses the id and the secret that it was given."""
    return passes(program, "auth/pre-registration", "pre-registration-auth")


def gd6_our_client_refuses_metadata_of_another_issuer(program):
    """RFC 8414 section 3.3: nothing is sent to the endpoints of metadata that name another issuer."""
    return passes(program, "auth/metadata-issuer-mismatch", "sep-2468-client-validate-metadata-issuer")
