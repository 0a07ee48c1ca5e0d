"""WI3: Kubernetes' own authenticator, HashiCorp's cap (as in Vault) and go-oidc sign in the clients of the server by their tokens, unmodified.

usage: federation.py PROGRAM WORK_FOLDER

Each reads the metadata and the keys over TLS, accepts the tokens for its audience, which is not a URI, and refuses others. Tokens are signed with RS256,
and with ES256.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from algorithms import Server, tampered, token_with
from languages import SCOPE, Failure
from programs import run

HARNESS = Path(__file__).parent / "harness/federation"
STRANGERS = ["kubernetes", "go-oidc", "cap"]
# What each calls the client billing.
BILLING = {"kubernetes": "sealwright:billing", "go-oidc": "billing", "cap": "billing"}
AUDIENCES = {"kubernetes": "RS256", "sts.amazonaws.com": "ES256"}
CLIENTS = ["billing", "stock"]
ELSEWHERE = "https://auth.example"


def build(work):
    """Builds the program that asks the strangers."""
    folder = work / "strangers"
    shutil.copytree(HARNESS, folder)
    run(folder, "go", "build", "-o", "harness", ".")
    return folder / "harness"


def certificate(work):
    run(work, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", "tls.key", "-out", "tls.pem")
    (work / "tls.key").chmod(0o600)
    return work / "tls.key", work / "tls.pem"


@contextlib.contextmanager
def serving(program, folder, key, chain):
    """A server with its clients, which may both have tokens for each audience."""
    folder.mkdir()
    server = Server(program, folder)
    with server.running("--tls-key", key, "--tls-cert", chain) as issuer:
        for audience, algorithm in AUDIENCES.items():
            server.run("resource", "create", audience, "--not-a-uri", "--scope", SCOPE, "--alg", algorithm)
        allowed = [flag for audience in AUDIENCES for flag in ["--allow", f"{audience}={SCOPE}"]]
        create = ["client", "create", "--grant", "client_credentials", *allowed, "--json"]
        clients = {client: json.loads(server.run(*create, client)) for client in CLIENTS}
        for audience in AUDIENCES:
            configuration(folder, audience).write_text(printed(server, audience).replace(ELSEWHERE, issuer))
        yield issuer, clients


def printed(server, audience):
    """What makes Kubernetes accept the tokens of billing alone. It is printed only for an issuer that others reach."""
    return server.run("federate", "kubernetes", "--client", "billing", "--audience", audience, "--issuer", ELSEWHERE)


def configuration(folder, audience):
    return folder / f"{audience}.yaml"


def token(issuer, client, audience):
    return token_with(AUDIENCES[audience], issuer, client, audience)


def wi3_faults(issuer, clients, others, harness, chain, audience, folder):
    """`others` are another issuer, and its client of the same id. What Kubernetes was given is for billing alone."""
    other = next(each for each in AUDIENCES if each != audience)
    own = token(issuer, clients["billing"], audience)
    cases = [
        ("a token of billing", own, BILLING),
        ("a token of stock", token(issuer, clients["stock"], audience), {"kubernetes": None, "go-oidc": "stock", "cap": "stock"}),
        ("a token for another audience", token(issuer, clients["billing"], other), None),
        ("a changed signature", tampered(own)[0], None),
        ("another subject", tampered(own)[1], None),
        ("a token of another issuer", token(*others, audience), None),
    ]
    asked = "".join(json.dumps(token) + "\n" for _, token, _ in cases)
    command = [harness, issuer, audience, chain, configuration(folder, audience)]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise Failure(f"the strangers: {done.stderr[-2000:]}")
    for (what, _, subjects), line in zip(cases, done.stdout.splitlines(), strict=True):
        verdicts = json.loads(line)
        for name in STRANGERS:
            subject = verdicts[name].get("subject")
            if subject != (subjects and subjects[name]):
                yield f"{audience}, {name}: {what}: {verdicts[name]}"


def main():
    program, work = sys.argv[1], Path(sys.argv[2])
    work.mkdir()
    harness = build(work)
    key, chain = certificate(work)
    # Python trusts the server's certificate, too.
    os.environ["SSL_CERT_FILE"] = str(chain)
    found = []
    with serving(program, work / "issuer", key, chain) as (issuer, clients), serving(program, work / "other", key, chain) as (other, theirs):
        for audience in AUDIENCES:
            found += wi3_faults(issuer, clients, (other, theirs["billing"]), harness, chain, audience, work / "issuer")
            print(f"federation: {', '.join(STRANGERS)}: {audience}, {AUDIENCES[audience]}", flush=True)
    if found:
        raise Failure("\n".join(found))


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"federation.py: {failure}")
