"""The APIs of `apis`, one per language: each is set up right with one of its libraries, or has one hole."""
# needs: node=nodejs npm=npm go=golang-go java=openjdk-17-jdk-headless mvn=maven

import contextlib
import functools
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading

AUDIENCE = "https://orders.example"
SOURCES = pathlib.Path(__file__).resolve().parent / "apis"
# How long an API may take to listen: far longer than it takes.
START_SECONDS = 120
# The hole of an API that is set up right.
NONE = "none"

# It exists as long as this process.
WORK = tempfile.TemporaryDirectory(prefix="sealwright-probe-")

BUILD = {
    "python": [
        ["python3", "-m", "venv", "venv"],
        ["venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"],
    ],
    "node": [["npm", "ci", "--silent", "--no-audit", "--no-fund"]],
    "go": [["go", "vet", "."], ["go", "build", "-o", "api", "."]],
    "java": [["mvn", "-B", "-q", "compile", "dependency:build-classpath", "-Dmdep.outputFile=classpath"]],
}

LANGUAGES = {
    "pyjwt": "python",
    "jose": "node",
    "express-jwt": "node",
    "jsonwebtoken": "node",
    "express-oauth2-jwt-bearer": "node",
    "go-oidc": "go",
    "jwx": "go",
    "spring": "java",
    "nimbus": "java",
    "sealwright": "rust",
}


@functools.cache
def built(language):
    """A copy of the API of this language, ready to run."""
    folder = pathlib.Path(WORK.name) / language
    shutil.copytree(SOURCES / language, folder, ignore=shutil.ignore_patterns("target", "venv", "node_modules"))
    for command in BUILD[language]:
        done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert done.returncode == 0, f"{language}: `{' '.join(command)}` failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return folder


def command_of(program, library, hole):
    """The command of an API, and its folder."""
    language = LANGUAGES[library]
    if language == "rust":
        example = pathlib.Path(program).parent / "examples/holed_api"
        assert example.exists(), "cargo build --example holed_api"
        return [example, library, hole], WORK.name
    folder = built(language)
    if language == "java":
        # Few requests: the optimizing compiler would cost more time than it saves.
        classpath = f"target/classes:{(folder / 'classpath').read_text()}"
        return ["java", "-XX:TieredStopAtLevel=1", "-cp", classpath, "Api", library, hole], folder
    commands = {"python": ["venv/bin/python", "api.py", hole], "node": ["node", "api.js", library, hole], "go": ["./api", library, hole]}
    return commands[language], folder


@contextlib.contextmanager
def issuer_address():
    """A URL for the probe's issuer, whose port nothing else takes: it is reserved at another address of this machine."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.2:{reserved.getsockname()[1]}"


@contextlib.contextmanager
def serving(program, library, hole, issuer):
    """The URL of an API that trusts this issuer, and its log as a function. It is killed afterwards."""
    command, folder = command_of(program, library, hole)
    environment = {**os.environ, "ISSUER": issuer, "AUDIENCE": AUDIENCE}
    with tempfile.TemporaryFile("w+") as log, subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
    ) as process:

        def said():
            log.seek(0)
            return log.read()[-3000:]

        limit = threading.Timer(START_SECONDS, process.kill)
        limit.start()
        try:
            # It prints its port once it listens.
            port = process.stdout.readline().strip()
            limit.cancel()
            assert port.isdigit(), f"{library} {hole} does not listen:\n{said()}"
            yield f"http://127.0.0.1:{port}/orders", said
        finally:
            limit.cancel()
            process.kill()
