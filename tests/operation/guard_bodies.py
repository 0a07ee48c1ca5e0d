"""Large bodies, trailers, events and WebSockets through `sealwright guard --upstream` and `sealwright attach`; upstreams that fail."""
# needs: curl=curl openssl=openssl

import contextlib
import hashlib
import http.client
import json
import pathlib
import socket
import struct
import subprocess
import tempfile
import threading
import time

from attach import attach
from guarded import api, apis, guard, issuer, run_in
from world import Server, until

GIB = 2**30
BLOCK = 64 * 1024
# The most memory that a process may have resident, whatever it forwards.
MOST_MIB = 64
# The buffers of the four sockets between both ends (`tcp_rmem`, `tcp_wmem`) have room for 20 MiB. Without backpressure, it would be 1 GiB.
MOST_ON_ITS_WAY = 64 * 2**20
RULES = """
[[rule]]
path = "/{*rest}"
scope = "orders:read"
"""


@contextlib.contextmanager
def body_file():
    """The file of 1 GiB that bodies.mjs sends, too, and its SHA-256. It has holes, so that it takes little room."""
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile() as file:
        for number in range(GIB // BLOCK):
            mark = struct.pack(">Q", number)
            file.seek(number * BLOCK)
            file.write(mark)
            digest.update(mark + bytes(BLOCK - len(mark)))
        file.truncate(GIB)
        file.flush()
        yield file.name, digest.hexdigest()


def curl(token, *arguments, **more):
    command = ["curl", "-sS", "--noproxy", "*", "-H", "Expect:", *arguments]
    if token:
        command += ["-H", f"Authorization: Bearer {token}"]
    return subprocess.run(command, capture_output=True, timeout=600, **more)


def succeeded(done):
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def digest_of(token, *arguments):
    """The length and the SHA-256 of what curl receives, which is kept nowhere."""
    command = ["curl", "-sS", "--fail", "--noproxy", "*", "-H", "Expect:", *arguments]
    if token:
        command += ["-H", f"Authorization: Bearer {token}"]
    digest, length = hashlib.sha256(), 0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        while piece := process.stdout.read(2**20):
            digest.update(piece)
            length += len(piece)
    assert process.returncode == 0, f"curl ended with {process.returncode} after {length} bytes"
    return length, digest.hexdigest()


def both_ways(url, token, sent, protocol, upstream_version):
    """Sends and receives 1 GiB, with its length stated and without."""
    file, digest = sent
    expected = (GIB, digest)
    for source in [file, "-"]:
        with open(file, "rb") as body:
            answer = json.loads(succeeded(curl(token, *protocol, "-T", source, f"{url}/body", stdin=body)))
        assert (answer["length"], answer["sha256"]) == expected, answer
        assert answer["protocol"] == upstream_version, answer
        # Over HTTP/2, nothing is stated in place of a length.
        unstated = "chunked" if upstream_version == "1.1" else "none"
        assert answer["framing"] == (str(GIB) if source == file else unstated), answer
    for framing in ["", "&chunked"]:
        assert digest_of(token, *protocol, f"{url}/body?length={GIB}{framing}") == expected
    # Both bodies at the same time.
    assert digest_of(token, *protocol, "-T", file, f"{url}/echo") == expected


def certificate(folder):
    key, chain = f"{folder}/tls.key", f"{folder}/tls.pem"
    run_in(folder, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
           "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", chain)
    pathlib.Path(key).chmod(0o600)
    return key, chain


def gd2_bodies_of_1_gib_pass_in_both_directions_and_the_memory_stays_flat(program):
    """Over HTTP/1.1, HTTP/2 and TLS, with Content-Length, chunked, and both directions at once: each arrives unchanged, within 64 MiB."""
    figures = []
    with tempfile.TemporaryDirectory() as folder, body_file() as sent, api("node", "bodies.mjs") as ports:
        key, chain = certificate(folder)
        tls = {"tls_key": key, "tls_cert": chain}
        for name, protocol, upstream_protocol, settings in [
            ("HTTP/1.1 to HTTP/1.1", ["--http1.1"], "http1", {}),
            ("HTTP/2 to HTTP/2", ["--http2-prior-knowledge"], "http2", {}),
            ("HTTP/2 with TLS to HTTP/1.1", ["--http2", "--cacert", chain], "http1", tls),
        ]:
            upstream = f"http://127.0.0.1:{ports[upstream_protocol]}"
            with issuer(program) as tokens, guard(program, tokens, RULES, upstream, upstream_protocol=upstream_protocol, **settings) as started:
                began = time.monotonic()
                both_ways(started.url, tokens.token("orders:read"), sent, protocol, {"http1": "1.1", "http2": "2.0"}[upstream_protocol])
                peak = started.peak_mib()
                assert peak < MOST_MIB, f"{name}: {peak:.0f} MiB"
                figures.append(f"{name}: {peak:.0f} MiB, {6 * 1024 / (time.monotonic() - began):.0f} MiB/s")
    return "; ".join(figures)


def gd2_gd4_attach_passes_bodies_of_1_gib_in_both_directions_with_flat_memory(program):
    """With Content-Length, chunked, and both directions at once: each arrives unchanged, within 64 MiB."""
    server = Server(program)
    try:
        with body_file() as sent, api("node", "bodies.mjs") as ports:
            origin = f"http://127.0.0.1:{ports['http1']}"
            with attach(program, server, origin, pathlib.Path(server.folder, "orders.sock")) as (url, _):
                process = next(pid for pid in pathlib.Path("/proc").glob("[0-9]*") if is_attach(pid, origin))
                both_ways(url, None, sent, ["--http1.1"], "1.1")
                peak = int(next(line.split()[1] for line in open(process / "status") if line.startswith("VmHWM:"))) / 1024
                assert peak < MOST_MIB, f"{peak:.0f} MiB"
                return f"{peak:.0f} MiB"
    finally:
        server.remove()


def is_attach(process, origin):
    with contextlib.suppress(OSError):
        words = (process / "cmdline").read_bytes().split(b"\0")
        return b"attach" in words and origin.encode() in words
    return False


def call(what, url, token):
    return json.loads(run_in(apis(), "timeout", "300", "node", "caller.mjs", what, url, token))


def gd2_trailers_events_and_websockets_pass(program):
    """Trailers in both directions and versions; the first event before the answer ends; WebSocket messages, pings and the reason of its end."""
    with issuer(program) as tokens, api("node", "bodies.mjs") as ports:
        token = tokens.token("orders:read")
        for version in ["http1", "http2"]:
            with guard(program, tokens, RULES, f"http://127.0.0.1:{ports[version]}", upstream_protocol=version) as started:
                for caller in ["http1", "http2"]:
                    received = call(caller, f"{started.url}/body", token)
                    assert received["status"] == 200 and received["body"]["length"] == 9, received
                    # Of the trailers of a request, only those that describe its body.
                    assert received["body"]["trailers"] == {"content-digest": "sha-256=:YQ==:"}, received
                assert call("trailers", f"{started.url}/body?length=1000000&chunked", token) == {"x-end": "of the answer"}
                asked = ["-H", "TE: trailers", "-H", "Connection: TE", "-o", "/dev/null", "-D", "-", f"{started.url}/body?length=9&chunked"]
                head = succeeded(curl(token, "--http1.1", *asked)).decode().lower()
                assert head.rstrip().endswith("x-end: of the answer"), head

                for protocol in ["--http1.1", "--http2-prior-knowledge"]:
                    command = ["curl", "-sSN", "--noproxy", "*", protocol, "-H", f"Authorization: Bearer {token}", f"{started.url}/events"]
                    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
                        assert [reader.stdout.readline() for _ in range(2)] == ["data: first\n", "\n"]
                        assert reader.poll() is None, "the answer has not ended"
                        succeeded(curl(token, f"{started.url}/release"))
                        assert reader.stdout.read() == "data: second\n\n"
                    assert reader.returncode == 0
                if version == "http1":
                    seen = call("websocket", f"{started.url.replace('http', 'ws')}/socket", token)
                    expected = {"echoed": 5, "pong": "are you there", "closed": [4001, "as asked"], "extensions": "permessage-deflate"}
                    assert seen == expected, seen
                assert token not in started.log() and token not in started.metrics()
    return "2 versions to the API, from callers of 2 versions"


def moved(url, token):
    return json.loads(succeeded(curl(token, f"{url}/moved")))


def until_it_stands(read, what):
    """Waits until a figure grows no more; returns it."""
    seen = []

    def stands():
        seen.append(read())
        return len(seen) > 10 and len({json.dumps(figure) for figure in seen[-10:]}) == 1

    until(stands, 120, what)
    return seen[-1]


def begin(address, head):
    connection = socket.create_connection(address, timeout=300)
    connection.sendall(head.encode())
    return connection


def gd2_a_side_that_does_not_read_stops_its_sender_alone(program):
    """16 callers that do not read and an API that does not: each sender is stopped, others are served, the memory is flat, nothing is lost."""
    slow = 16
    with issuer(program) as tokens, api("node", "bodies.mjs") as ports:
        token = tokens.token("orders:read")
        figures = []
        for version in ["http1", "http2"]:
            upstream = f"http://127.0.0.1:{ports[version]}"
            with guard(program, tokens, RULES, upstream, upstream_protocol=version, upstream_idle_timeout="10m") as started:
                host, port = started.address.split(":")
                address = (host, int(port))
                head = f"HTTP/1.1\r\nHost: {started.address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n"
                names = [f"{version}-{number}" for number in range(slow)]
                readers = [begin(address, f"GET /body?length={GIB}&name={name} {head}\r\n") for name in names]
                upload = f"{version}-upload"
                writer = begin(address, f"POST /body?wait&name={upload} {head}Content-Length: {GIB}\r\n\r\n")
                sent = [0]

                def write():
                    piece = bytes(BLOCK)
                    while sent[0] < GIB:
                        writer.sendall(piece)
                        sent[0] += len(piece)

                thread = threading.Thread(target=write, daemon=True)
                thread.start()

                def written():
                    figures = moved(started.url, token)
                    return [figures.get(name, 0) for name in names], sent[0]

                until(lambda: all(written()[0]), 120, "each answer begins")
                downloads, uploaded = until_it_stands(written, "both senders are stopped")
                assert max(downloads) < MOST_ON_ITS_WAY and uploaded < MOST_ON_ITS_WAY, (downloads, uploaded)
                # Others are served meanwhile, also over the same connection.
                for protocol in ["--http1.1", "--http2-prior-knowledge"]:
                    assert len(succeeded(curl(token, protocol, f"{started.url}/body?length=10000000"))) == 10_000_000
                shared = call("shared", f"{started.url}/body?length={GIB}&name=shared", token)
                assert shared == {"others": 5_000_000, "length": GIB}, shared
                assert written() == (downloads, uploaded), "the others are still stopped"
                peak = started.peak_mib()
                assert peak < MOST_MIB, f"{peak:.0f} MiB"

                # What was stopped goes on where it was.
                assert read_to_end(readers[0]) == GIB
                succeeded(curl(token, f"{started.url}/release"))
                answer = http.client.HTTPResponse(writer)
                answer.begin()
                assert json.load(answer)["length"] == GIB
                thread.join()
                for connection in [*readers, writer]:
                    connection.close()
                figures.append(f"{version}: {max(downloads) / 2**20:.0f} MiB down and {uploaded / 2**20:.0f} MiB up on their way, {peak:.0f} MiB")
    return "; ".join(figures)


def read_to_end(connection):
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    assert answer.status == 200
    length = 0
    while piece := answer.read(2**20):
        length += len(piece)
    return length
