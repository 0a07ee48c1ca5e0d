"""Requests as a caller writes them, byte by byte: no library changes them on the way."""

import contextlib
import http.client
import socket
from dataclasses import dataclass


# The status where the gateway closes the connection without an answer, as for headers beyond its limits.
CLOSED = 0


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: str


def ask(port, target, headers=(), method="GET", body=b""):
    """`headers` are lines. The connection is closed after the answer, whatever they say about it."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: 127.0.0.1:{port}", *headers]
    if not any(line.lower().startswith("connection") for line in lines):
        lines.append("Connection: close")
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        # A header may hold bytes that are not text. A gateway may answer, and close, before it has read everything.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall("\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body)
        answer = http.client.HTTPResponse(connection, method=method)
        try:
            answer.begin()
        except (ConnectionResetError, http.client.RemoteDisconnected):
            return Answer(CLOSED, http.client.HTTPMessage(), "")
        return Answer(answer.status, answer.headers, answer.read().decode(errors="replace"))


def bearer(token):
    return f"Authorization: Bearer {token}"
