"""testssl.sh: protocols, ciphers, certificates and known attacks on TLS."""
# needs: testssl=testssl.sh

import concurrent.futures
import contextlib
import json
import pathlib
import subprocess
import tempfile

from targets import authority, guarded, served

# What testssl.sh rates as no finding.
HARMLESS = {"OK", "INFO"}
# The least number of checks of a whole run. A run of fewer shows nothing.
CHECKS = 100

# What testssl.sh objects to, by the name of its check, and why it stands.
DEVIATIONS = {
    "cipher_order": "HIGH. The client chooses among the cipher suites of TLS 1.2. Each of them is an AEAD with forward secrecy, so none is a weak "
    "choice, and the client knows which one its hardware computes fastest.",
    "cert_revocation": "HIGH. The certificate of this test names no place that says whether it was revoked. Those of operators name what their "
    "authority offers.",
    "HSTS": "LOW. The header is about a host name with all its ports, which other programs may serve. Those who operate the host decide that.",
}
# The same, of checks that find this in some runs or on some machines only.
SOMETIMES = {
    "engine_problem": "WARN. About the OpenSSL that testssl.sh runs with: it cannot try the ciphers of GOST.",
    "sessionresumption_ticket": "WARN, not checked. testssl.sh may close its first connection before the session ticket arrives, and has then "
    "none for its second.",
}


def objections(port, files):
    """What testssl.sh rates as worse than harmless, by the name of the check, and the number of checks."""
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder, "report.json")
        command = ["testssl", "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--connect-timeout", "60", "--openssl-timeout", "60",
                   "--add-ca", files.root, "--jsonfile", report, f"127.0.0.1:{port}"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=1800, cwd=folder)
        assert report.exists(), done.stdout[-3000:] + done.stderr[-3000:]
        checks = json.loads(report.read_text())
    return {check["id"]: f"{check['severity']}: {check['finding']}" for check in checks if check["severity"] not in HARMLESS}, len(checks)


def examine(port, files):
    """Fails on an objection that has no argument, and on an argument for nothing. Returns figures."""
    found, checks = objections(port, files)
    assert checks >= CHECKS, f"{checks} checks"
    unexplained = {name: said for name, said in found.items() if name not in DEVIATIONS | SOMETIMES}
    assert not unexplained, "\n".join(f"{name}: {said}" for name, said in unexplained.items())
    assert set(DEVIATIONS) <= set(found), f"no deviation any more: {set(DEVIATIONS) - set(found)}"
    return f"{checks - len(found)} of {checks} checks find nothing"


def testssl_finds_nothing_at_the_public_listener_and_the_guard(program):
    """Every check finds nothing or has an argument."""
    with contextlib.ExitStack() as running:
        files = running.enter_context(authority())
        settings = {"tls_cert": files.chain, "tls_key": files.key}
        server = running.enter_context(served(program, **settings))
        started, _ = running.enter_context(guarded(program, **settings))
        # Most of the time, testssl.sh waits.
        with concurrent.futures.ThreadPoolExecutor() as both:
            ports = [server.address[1], started.address.rpartition(":")[2]]
            return "; ".join(both.map(lambda port: examine(port, files), ports))
