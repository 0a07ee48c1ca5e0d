"""What the suites are run against: the public listener, and a guard in front of an API. Both on loopback, with TLS and without."""
# needs: openssl=openssl curl=curl

import contextlib
import http.server
import pathlib
import subprocess
import tempfile
import threading

from guarded import guard, issuer
from world import Server

# An answer of the server that needs no credentials. The suites need one with a body.
OPEN_PATH = "/.well-known/jwks.json"
# Longer than the buffers of a socket can hold.
LARGE = bytes(8 * 2**20)
RULES = """
[[rule]]
path = "/"
public = true

[[rule]]
path = "/public/{*rest}"
public = true

[[rule]]
path = "/orders/{*rest}"
scope = "orders:read"
"""


class Authority:
    """A root, and a certificate for this machine by it."""

    def __init__(self, folder):
        self.root, self.chain, self.key = f"{folder}/root.pem", f"{folder}/tls.pem", f"{folder}/tls.key"
        root_key, request, extensions = f"{folder}/root.key", f"{folder}/request.pem", f"{folder}/extensions"
        pathlib.Path(extensions).write_text(
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n"
            "subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        for command in [
            ["req", "-x509", *curve, "-days", "90", "-subj", "/CN=Root of this test", "-keyout", root_key, "-out", self.root],
            ["req", *curve, "-subj", "/CN=localhost", "-keyout", self.key, "-out", request],
            ["x509", "-req", "-in", request, "-days", "90", "-CA", self.root, "-CAkey", root_key, "-CAcreateserial", "-extfile", extensions,
             "-out", self.chain],
        ]:
            subprocess.run(["openssl", *command], check=True, capture_output=True)
        pathlib.Path(self.key).chmod(0o600)


@contextlib.contextmanager
def authority():
    with tempfile.TemporaryDirectory() as folder:
        yield Authority(folder)


@contextlib.contextmanager
def served(program, **settings):
    """The server, with a client."""
    server = Server(program, **settings)
    try:
        yield server
        assert server.process.poll() is None, open(server.log.name).read()
    finally:
        server.remove()


class Api(http.server.BaseHTTPRequestHandler):
    """Answers every request with 200, and `/public/large` with a long body."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        # The guard sends every body with its length or as chunks; the suites send short ones.
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline(), 16):
                self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        body = LARGE if self.path == "/public/large" else b"an answer of the API"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        # testssl.sh asks for such headers. The guard passes those of the API on, and adds none.
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_OPTIONS = answer

    def log_message(self, *_):
        pass


class ApiServer(http.server.ThreadingHTTPServer):
    request_queue_size = 1024

    def handle_error(self, *_):
        """A connection that the guard ends early is not a failure."""


@contextlib.contextmanager
def api():
    """Returns its URL."""
    with ApiServer(("127.0.0.1", 0), Api) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def guarded(program, **settings):
    """A guard in front of the API, and a token for it."""
    with api() as upstream, issuer(program) as tokens, guard(program, tokens, RULES, upstream, **settings) as started:
        yield started, tokens.token("orders:read")
