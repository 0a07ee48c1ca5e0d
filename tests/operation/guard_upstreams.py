"""APIs behind `sealwright guard --upstream` that are dead, silent or broken."""
# needs: curl=curl

import contextlib
import json
import socket
import struct
import threading

from guard_bodies import RULES, curl
from guarded import guard, issuer
from world import free_port, until

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
# How a connection ends once its bytes are sent.
RESET, CLOSE, SILENCE = "reset", "close", "silence"


def frame(kind, payload=b"", flags=0, stream=0):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


SETTINGS = frame(4) + frame(4, flags=1)

# What the API sends, how it ends, and the status that the caller gets.
DEAD = [
    ("reset", b"", RESET, 502),
    ("closed", b"", CLOSE, 502),
    ("silent", b"", SILENCE, 504),
    ("half a header, reset", b"HTTP/1.1 200 OK\r\nX-A: ", RESET, 502),
    ("half a header, closed", b"HTTP/1.1 200 OK\r\nX-A: ", CLOSE, 502),
    ("half a header, silent", b"HTTP/1.1 200 OK\r\nX-A: ", SILENCE, 504),
    ("100 and nothing else", b"HTTP/1.1 100 Continue\r\n\r\n", SILENCE, 504),
    ("garbage", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n" + bytes(range(256)), SILENCE, 502),
    ("another protocol", b"SSH-2.0-OpenSSH_9.2\r\n", SILENCE, 502),
    ("no status", b"HTTP/1.1 OK\r\n\r\n", SILENCE, 502),
    ("a status of four digits", b"HTTP/1.1 2000 OK\r\n\r\n", SILENCE, 502),
    ("NUL in a header", b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 0\r\n\r\n", SILENCE, 502),
    ("a space before the colon", b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n", SILENCE, 502),
    ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", SILENCE, 502),
    ("a negative length", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nab", SILENCE, 502),
    ("a length and chunked", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", SILENCE, 502),
    ("another coding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", SILENCE, 502),
    ("an upgrade that was not asked for", b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", SILENCE, 502),
    ("a header of 1 MiB", b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 2**20 + b"\r\n\r\n", SILENCE, 502),
    ("10,000 headers", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 10_000 + b"\r\n", SILENCE, 502),
    ("a header without end", b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 2**24, SILENCE, 502),
]
DEAD_HTTP2 = [
    ("reset", b"", RESET, 502),
    ("closed", b"", CLOSE, 502),
    ("silent", b"", SILENCE, 504),
    ("settings and nothing else", SETTINGS, SILENCE, 504),
    ("settings, closed", SETTINGS, CLOSE, 502),
    ("HTTP/1.1", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", SILENCE, 502),
    # A request without a body is sent once more, which must find another connection here.
    ("the stream is reset", SETTINGS + frame(3, struct.pack(">I", 2), stream=1), CLOSE, 502),
    ("GOAWAY", SETTINGS + frame(7, struct.pack(">II", 0, 1)), CLOSE, 502),
    ("data before a header", SETTINGS + frame(0, b"abc", stream=1), SILENCE, 502),
    ("a header that cannot be decoded", SETTINGS + frame(1, b"\xff\xff\xff\xff", 4, 1), SILENCE, 502),
    ("a frame that is too large", SETTINGS + b"\xff\xff\xff\0\0\0\0\0\1", SILENCE, 502),
]
# Answers that begin and do not arrive in full.
CUT = [
    ("a length, reset", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome text", RESET),
    ("a length, closed", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome text", CLOSE),
    ("a length, silent", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome text", SILENCE),
    ("chunked, reset", CHUNKED + b"9\r\nsome text\r\n", RESET),
    ("chunked, closed", CHUNKED + b"9\r\nsome text\r\n", CLOSE),
    ("chunked, silent", CHUNKED + b"9\r\nsome text\r\n", SILENCE),
    ("chunked, no size", CHUNKED + b"9\r\nsome text\r\nxyz\r\n", SILENCE),
    ("chunked, a size beyond 64 bits", CHUNKED + b"9\r\nsome text\r\nfffffffffffffffff\r\n", SILENCE),
    ("chunked, broken trailers", CHUNKED + b"9\r\nsome text\r\n0\r\n\0: \0\r\n\r\n", SILENCE),
]


class Broken:
    """An API that sends the same bytes on each connection once a request has begun, and then ends it in the same way."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.answer, self.end = b"", CLOSE
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with contextlib.suppress(OSError), connection:
            received = b""
            # Over HTTP/2, until the header of the request has come behind the preface.
            while b"\r\n\r\n" not in received or (received.startswith(b"PRI ") and not self._has_request(received)):
                piece = connection.recv(65536)
                if not piece:
                    return
                received += piece
            # The guard may have opened this connection during an earlier request.
            answer, end = self.answer, self.end
            connection.sendall(answer)
            if end == RESET:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif end == SILENCE:
                # Until the guard gives it up.
                while connection.recv(65536):
                    pass
            elif end == CLOSE:
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass

    @staticmethod
    def _has_request(received):
        rest = received[24:]
        while len(rest) >= 9:
            length = int.from_bytes(rest[:3], "big")
            if rest[3] == 1:
                return True
            rest = rest[9 + length :]
        return False


def gd2_an_api_that_is_dead_silent_or_broken_is_502_or_504_with_a_request_id(program):
    """Each failure is answered as JSON with an id that the log has, too, over both versions of HTTP, and repeats neither token nor address."""
    asked = 0
    for protocol, failures in [("http1", DEAD), ("http2", DEAD_HTTP2)]:
        with issuer(program) as tokens:
            token, api = tokens.token("orders:read"), Broken()
            with guard(program, tokens, RULES, api.url, upstream_protocol=protocol, upstream_answer_timeout="1s") as started:
                for name, api.answer, api.end, status in failures:
                    for version in ["--http1.1", "--http2-prior-knowledge"]:
                        for body in [[], ["-d", "some text"]]:
                            refused(started, token, f"{protocol}: {name}, {version}, {body}", status, version, *body)
                            asked += 1
                assert_no_token(started, token)
            gone = f"http://127.0.0.1:{free_port()}"
            with guard(program, tokens, RULES, gone, upstream_protocol=protocol) as started:
                refused(started, token, f"{protocol}: without a listener", 502, "--http1.1")
                asked += 1
                assert_no_token(started, token)
    return f"{asked} failures"


def refused(started, token, what, status, *arguments):
    done = curl(token, *arguments, "-i", "--max-time", "60", f"{started.url}/orders/1")
    assert done.returncode == 0, f"{what}: {done.stderr.decode()}"
    head, _, body = done.stdout.decode().partition("\r\n\r\n")
    lines = head.split("\r\n")
    fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
    assert lines[0].split()[1] == str(status), f"{what}: {lines[0]}, expected {status}; {started.events()[-1]}"
    answer, request_id = json.loads(body), fields["x-request-id"]
    assert answer["error"] == {502: "server_error", 504: "temporarily_unavailable"}[status], f"{what}: {answer}"
    assert request_id in answer["error_description"], f"{what}: {answer}"
    assert "127.0.0.1" not in head + body, f"{what}: {head}{body}"
    until(lambda: any(event.get("request.id") == request_id for event in started.events()), 30, f"{what}: its line in the log")
    event = next(event for event in started.events() if event.get("request.id") == request_id)
    reasons = {502: ["upstream_unreachable", "upstream_bad_answer"], 504: ["upstream_timed_out"]}
    assert event["http.status"] == status and event["reason"] in reasons[status], f"{what}: {event}"


def assert_no_token(started, token):
    for part in [token, token.rsplit(".", 1)[1]]:
        assert part not in started.log() and part not in started.metrics(), "a token is in the log or in the metrics"


def gd2_an_answer_that_the_api_breaks_off_is_never_taken_for_complete(program):
    """Over both versions of HTTP, the caller sees that the body is cut off, and gets what had come."""
    with issuer(program) as tokens:
        token, api = tokens.token("orders:read"), Broken()
        with guard(program, tokens, RULES, api.url, upstream_idle_timeout="1s", upstream_answer_timeout="1s") as started:
            for name, api.answer, api.end in CUT:
                for version in ["--http1.1", "--http2-prior-knowledge"]:
                    done = curl(token, version, "--max-time", "60", f"{started.url}/orders/1")
                    # A transfer that is closed early, an HTTP/2 stream that is not closed cleanly, a reset; 28 would be the time limit here.
                    assert done.returncode in [18, 92, 56], f"{name}, {version}: {done.returncode} {done.stderr.decode()}"
                    assert done.stdout in [b"some text", b""], f"{name}, {version}: {done.stdout}"
            assert_no_token(started, token)
            api.answer, api.end = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome text", CLOSE
            assert curl(token, f"{started.url}/orders/1").stdout == b"some text", "it serves afterwards"
    return f"{2 * len(CUT)} broken answers"
