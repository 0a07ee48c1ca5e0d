"""The programs of `examples/express` as processes."""
# needs: node=nodejs npm=npm

import contextlib
import os
import pathlib
import subprocess
import tempfile
import time

from world import free_port

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXPRESS = ROOT / "examples/express"
AUDIENCE = "https://orders.example"
RULES = (EXPRESS / "rules.toml").read_text()


@contextlib.contextmanager
def running(command, until, **environment):
    """Runs it until the end of the block. Returns its output, as a function."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SEALWRIGHT_")}
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, cwd=EXPRESS, env=inherited | environment, stdout=log, stderr=subprocess.STDOUT, text=True)

        def said():
            log.seek(0)
            return log.read()

        try:
            deadline = time.monotonic() + 60
            while until not in said():
                assert process.poll() is None and time.monotonic() < deadline, f"{command} never printed {until!r}: {said()}"
                time.sleep(0.02)
            yield said
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def node(file, until, **environment):
    with running(["node", file], until, **environment) as said:
        yield said


@contextlib.contextmanager
def api_in_node(file, issuer):
    """An API that checks tokens itself. Returns its port and its output."""
    port = free_port()
    with node(file, "orders at", ISSUER=issuer, AUDIENCE=AUDIENCE, LISTEN=str(port)) as said:
        yield port, said


@contextlib.contextmanager
def api_behind_guard(program, issuer):
    """The API without code for tokens, and the guard. Returns the guard's port and its output."""
    behind, port = free_port(), free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as rules:
        rules.write(RULES.replace("http://localhost:8080", issuer))
        rules.flush()
        guard = [
            program, "guard", "--rules", rules.name, "--upstream", f"http://127.0.0.1:{behind}", "--listen", f"127.0.0.1:{port}",
            "--management-listen", "127.0.0.1:0", "--log-format", "json",
        ]
        with node("api-behind-guard.js", "orders at", LISTEN=str(behind)), running(guard, '"serving"') as said:
            yield port, said
