"""The callers: at a constant rate, as fast as the answers come, and connected without a request."""

import contextlib
import json
import os
import pathlib
import re
import socket
import subprocess

from driver import ROUND_ROBIN
from programs import ANSWER, HOST

# needs: wrk=wrk

CONNECTIONS = 64


def head(path, token):
    """A request without a body."""
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{authorization}\r\n"


def first_in_line():
    """The caller gets a core as soon as it needs one: it stands for callers on other machines, whose wait for a core is not the server's."""
    # Without the right to it, the figures include that wait, which `open_loop` reports.
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def at_rate(folder, address, tokens, rate, seconds):
    """Latencies in ms at this many requests a second; a token of `None` is left out. Fails if an answer is not 200."""
    requests = pathlib.Path(folder, "requests")
    requests.write_text("".join(head("/orders/7", token) for token in tokens))
    command = ["open_loop", f"-address={address}", f"-requests={requests}", f"-rate={rate}", f"-length={seconds}s", f"-connections={CONNECTIONS}"]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=first_in_line)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


SCRIPT = """
function init()
    local body = string.rep("x", %d)
    for token in io.lines("%s") do
        requests[#requests + 1] = wrk.format("%s", "%s", {["Host"] = "%s", ["Authorization"] = "Bearer " .. token}, #body > 0 and body or nil)
    end
end
"""


def as_fast_as_answered(folder, address, tokens, seconds, path="/orders/7", upload=0, connections=CONNECTIONS):
    """Answers a second, and how many there were. Fails if one is not 200, or a connection breaks."""
    lines, script = pathlib.Path(folder, "tokens"), pathlib.Path(folder, "requests.lua")
    lines.write_text("".join(f"{token}\n" for token in tokens))
    script.write_text(ROUND_ROBIN + SCRIPT % (upload, lines, "POST" if upload else "GET", path, HOST))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script, f"http://{address}/"]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in out and "Socket errors" not in out, out
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]), int(re.search(r"(\d+) requests in", out)[1])


class Idle:
    """Connections on each of which one request was answered."""

    def __init__(self, address, tokens, count):
        host, port = address.rsplit(":", 1)
        self.tokens, self.open = tokens, []
        for number in range(count):
            connection = socket.create_connection((host, int(port)), timeout=60)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.open.append(connection)
            self.ask(number)

    def ask(self, number):
        connection = self.open[number]
        connection.sendall(head("/orders/7", self.tokens[number % len(self.tokens)]).encode())
        received = b""
        while not received.endswith(ANSWER):
            piece = connection.recv(65536)
            assert piece, f"connection {number} was closed after {received}"
            received += piece
            assert received.startswith(b"HTTP/1.1 200 "), received

    def close(self):
        for connection in self.open:
            connection.close()
