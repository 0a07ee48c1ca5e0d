"""nginx admits or refuses callers by the answer of an API behind the verifier's layer (`auth_request`)."""
# needs: nginx=nginx

import contextlib
import http.server
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading

from proxies import NGINX_HEAD
from world import Server, free_port, until

NGINX = (
    NGINX_HEAD
    + """
    server {{
        listen 127.0.0.1:{port};
        location / {{
            auth_request /allowed;
            proxy_pass http://127.0.0.1:{upstream};
        }}
        location = /allowed {{
            internal;
            proxy_pass {orders};
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
        }}
    }}
}}
"""
)


@contextlib.contextmanager
def upstream():
    """The upstream of nginx, which answers 200 to every request. Returns its port and the requested paths."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"in")

        do_POST = do_GET

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1], asked
    finally:
        server.shutdown()


@contextlib.contextmanager
def ended(process):
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextlib.contextmanager
def orders_api(program, issuer):
    """Runs the unchanged example. Returns the URL of its orders."""
    example = pathlib.Path(program).parent / "examples/orders_api"
    assert example.exists(), "cargo build --example orders_api"
    environment = {**os.environ, "ORDERS_ISSUER": issuer, "ORDERS_AUDIENCE": "https://orders.example", "ORDERS_LISTEN": "127.0.0.1:0"}
    with ended(subprocess.Popen([example], env=environment, stdout=subprocess.PIPE, text=True)) as process:
        yield process.stdout.readline().strip().removeprefix("orders at ")


@contextlib.contextmanager
def nginx(orders, upstream_port):
    folder, port = tempfile.mkdtemp(), free_port()
    # Its workers are not root.
    os.chmod(folder, 0o755)
    config = pathlib.Path(folder, "nginx.conf")
    config.write_text(NGINX.format(folder=folder, port=port, upstream=upstream_port, orders=orders))
    command = [shutil.which("nginx") or "/usr/sbin/nginx", "-c", config, "-p", folder]
    try:
        with ended(subprocess.Popen(command, stderr=subprocess.DEVNULL)) as process:

            def listens():
                assert process.poll() is None, pathlib.Path(folder, "error.log").read_text()
                with socket.socket() as caller:
                    return caller.connect_ex(("127.0.0.1", port)) == 0

            until(listens, 30, "nginx listens")
            yield ("127.0.0.1", port)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


MEDIA_TYPES = [
    None,
    "application/grpc",
    "application/grpcxyz",
    "application/grpc+proto",
    "application/grpc; charset=utf-8",
    "application/grpc-web-text",
    "application/json",
]


def hd1_nginx_refuses_callers_without_a_valid_token_for_any_content_type(program):
    """401 without a token or with an invalid one, for any Content-Type; 200 with a valid one; no refused request reaches the upstream."""
    server = Server(program)
    try:
        issuer = server._event("serving")["issuer"]
        status, _, answer, _ = server.token()
        assert status == 200, answer
        token = answer.split('"access_token":"')[1].split('"')[0]
        with upstream() as (port, asked), orders_api(program, issuer) as orders, nginx(orders, port) as address:

            def ask(method, path, media_type, authorization):
                headers = {"Content-Type": media_type, "Authorization": authorization}
                headers = {name: value for name, value in headers.items() if value}
                body = "{}" if method == "POST" else None
                return server.ask(method, path, body, headers, address=address)

            for number, media_type in enumerate(MEDIA_TYPES):
                for method in ["GET", "POST"]:
                    for authorization in [None, "Bearer junk", f"Bearer {token[:-9]}{token[-8:]}", "Basic c2hvcDp4"]:
                        status, headers, _, _ = ask(method, "/refused", media_type, authorization)
                        assert status == 401, f"{method}, {media_type}, {authorization}: {status}"
                        assert headers["www-authenticate"].startswith("Bearer"), headers
                    status, _, body, _ = ask(method, f"/granted/{number}", media_type, f"Bearer {token}")
                    assert (status, body) == (200, "in"), f"{method}, {media_type}, a good token: {status}"
            assert "/refused" not in asked, asked
            assert len(asked) == 2 * len(MEDIA_TYPES), asked
        return f"{8 * len(MEDIA_TYPES)} refused, {len(asked)} let in"
    finally:
        server.remove()
