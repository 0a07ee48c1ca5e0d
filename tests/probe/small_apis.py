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


def finish(command, folder):
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, f"`{' '.join(map(str, command))}` failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"


@functools.cache
def built(language):
    """A copy of the API of this language, ready to run."""
    folder = pathlib.Path(WORK.name) / language
    shutil.copytree(SOURCES / language, folder, ignore=shutil.ignore_patterns("target", "venv", "node_modules"))
    for command in BUILD[language]:
        finish(command, folder)
    return folder


def source(folder, name, change):
    """The source of an API: as it is, or a copy with one change."""
    if not change:
        return folder / name
    text = (folder / name).read_text()
    where = text.find(change.where)
    at = text.find(change.right, where)
    assert -1 not in [where, at], f"there is no {change.right!r} behind {change.where!r} in {name}"
    copy = (folder / name).with_stem("changed")
    copy.write_text(text[:at] + change.wrong + text[at + len(change.right) :])
    return copy


def command_of(program, library, hole, change):
    """The command of an API, and its folder."""
    language = LANGUAGES[library]
    if language == "rust":
        example = pathlib.Path(program).parent / "examples/holed_api"
        assert example.exists(), "cargo build --example holed_api"
        return [example, library, hole], WORK.name
    folder = built(language)
    if language == "python":
        return ["venv/bin/python", source(folder, "api.py", change), hole], folder
    if language == "node":
        return ["node", source(folder, "api.js", change), library, hole], folder
    if language == "go":
        if change:
            finish(["go", "build", "-o", "changed", source(folder, "main.go", change)], folder)
        return ["./changed" if change else "./api", library, hole], folder
    classes, libraries = "target/classes", (folder / "classpath").read_text()
    if change:
        classes = "changed"
        finish(["javac", "-proc:none", "-cp", libraries, "-d", classes, source(folder, "src/main/java/Api.java", change)], folder)
    # Few requests: the optimizing compiler would cost more time than it saves.
    return ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{classes}:{libraries}", "Api", library, hole], folder


@contextlib.contextmanager
def issuer_address():
    """A URL for the probe's issuer, whose port nothing else takes: it is reserved at another address of this machine. Other tests send requests
    from 127.0.0.2, so a port there may belong to a connection that is not forgotten yet."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"http://127.0.99.1:{reserved.getsockname()[1]}"


@contextlib.contextmanager
def serving(program, library, hole, issuer, change=None):
    """The URL of an API that trusts this issuer, and its log as a function. It is killed afterwards."""
    command, folder = command_of(program, library, hole, change)
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
