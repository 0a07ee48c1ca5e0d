"""Node, Python and curl send requests through `sealwright attach` to an API behind the verifier's layer."""
# needs: node=nodejs curl=curl

import contextlib
import http.server
import json
import os
import pathlib
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

from auth_request import ended, orders_api
from world import Server, until

NODE = """
const url = process.argv[1];
const read = await fetch(url);
const written = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body: '{"item":"tea"}' });
console.log(JSON.stringify([read.status, await read.json(), written.status]));
"""
NODE_BY_SOCKET = """
import http from "node:http";
http.get({ socketPath: process.argv[1], path: "/orders" }, (answer) => console.log(answer.statusCode));
"""


@contextlib.contextmanager
def attach(program, server, origin, socket_path):
    """Runs it with a port and a Unix socket. Returns the URL of its port, and its log."""
    log = tempfile.NamedTemporaryFile("w+", suffix=".log")
    settings = {"ISSUER": server._event("serving")["issuer"], "CLIENT": "shop", "LISTEN": "127.0.0.1:0", "MANAGEMENT_LISTEN": "127.0.0.1:0"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEALWRIGHT_")}
    environment |= {f"SEALWRIGHT_ATTACH_{name}": value for name, value in settings.items()}
    environment["SEALWRIGHT_CLIENT_SECRET"] = server.secrets["shop"]
    command = [program, "attach", "--to", origin, "--to", f"unix:{socket_path}={origin}"]
    with ended(subprocess.Popen(command, env=environment, stderr=log, cwd=server.folder)) as process:
        for _ in range(600):
            for line in open(log.name):
                # The last line may be half written.
                event = json.loads(line) if line.endswith("\n") else {}
                if event.get("message") == "serving":
                    yield f"http://{event['listen'].split(', ')[0]}", log.name
                    return
            assert process.poll() is None, open(log.name).read()
            time.sleep(0.05)
        raise AssertionError("it does not serve")


def by_python(url, method="GET", body=None, headers=None):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, body, headers or {}, method=method)
    try:
        with opener.open(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def by_curl(*arguments):
    command = ["curl", "-sS", "--noproxy", "*", "-o", "/dev/null", "-w", "%{http_code}", *arguments]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)


def by_node(script, *arguments):
    command = ["node", "--input-type=module", "-e", script, *arguments]
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env=environment).stdout)


def gd4_node_python_and_curl_send_requests_with_a_token_and_pages_do_not(program):
    """Each language reads orders with a token that it has not seen, gets the API's 403 where the scope is missing, and needs no header."""
    server = Server(program)
    try:
        issuer = server._event("serving")["issuer"]
        socket_path = pathlib.Path(server.folder, "orders.sock")
        with orders_api(program, issuer) as orders, attach(program, server, orders.removesuffix("/orders"), socket_path) as (base, log):
            url = f"{base}/orders"
            assert by_python(orders)[0] == 401, "the API itself refuses a request without a token"
            assert by_python(url) == (200, []), "Python"
            typed = {"Content-Type": "application/json"}
            assert by_python(url, "POST", b'{"item":"tea"}', typed)[0] == 403, "Python: the client may not write"
            assert by_node(NODE, url) == [200, [], 403], "Node"
            assert by_curl(url) == 200, "curl"
            assert by_curl("-d", '{"item":"tea"}', "-H", "Content-Type: application/json", url) == 403, "curl"
            assert by_curl("--http2-prior-knowledge", url) == 200, "curl, HTTP/2"
            assert by_curl("-H", "Expect: 100-continue", "-d", "{}", "-H", "Content-Type: application/json", url) == 403, "curl, Expect"
            assert socket_path.stat().st_mode & 0o777 == 0o600
            assert by_curl("--unix-socket", str(socket_path), "http://localhost/orders") == 200, "curl, Unix socket"
            assert by_node(NODE_BY_SOCKET, str(socket_path)) == 200, "Node, Unix socket"

            assert by_curl("-H", "Origin: https://evil.example", url) == 403, "a page"
            assert by_curl("-H", "Host: evil.example", url) == 421, "another host"
            assert by_curl("-H", "Authorization: Bearer x", url) == 400, "an Authorization of the app"
            # As a proxy for another URL, which would get the token.
            assert by_curl("--noproxy", "", "-x", base, "http://evil.example/orders") == 421, "a proxy"
            text = open(log).read()
            assert "eyJ" not in text and server.secrets["shop"][:20] not in text, "no token and no secret is in the log"
        assert not socket_path.exists(), "the socket ends with the process"
        return "3 languages, 2 sockets"
    finally:
        server.remove()


@contextlib.contextmanager
def recording(answer):
    """An origin that keeps the path, the `Authorization` and the id of each request. `answer` gives the status and the headers. Returns its URL."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            seen.append((self.path, self.headers["Authorization"], self.headers["X-Request-Id"]))
            status, headers = answer(self.headers["Authorization"])
            self.send_response(status)
            for name, value in (headers | {"Content-Length": "2"}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()


FOLLOWING = "const answer = await fetch(process.argv[1]); console.log(answer.status);"


def gd4_a_redirect_elsewhere_takes_no_token_along(program):
    """Each language follows a redirect of the API to another origin, and arrives there without a token, whatever host and path it asked for."""
    server = Server(program)
    try:
        with contextlib.ExitStack() as running:
            other, elsewhere = running.enter_context(recording(lambda _: (200, {})))
            api, seen = running.enter_context(recording(lambda _: (302, {"Location": f"{other}/elsewhere"})))
            base, log = running.enter_context(attach(program, server, api, pathlib.Path(server.folder, "orders.sock")))
            assert by_curl(f"{base}/orders") == 302, "it is given to the app"
            assert by_curl("-L", f"{base}/orders") == 200, "curl"
            assert by_node(FOLLOWING, f"{base}/orders") == 200, "Node"
            assert by_python(f"{base}/orders")[0] == 200, "Python"
            assert [authorization for _, authorization, _ in elsewhere] == [None, None, None], "another origin gets no token"
            assert len(seen) == 4 and all(authorization.startswith("Bearer ") for _, authorization, _ in seen), "the API gets one"
            # What names another origin does not reach it.
            before = len(seen)
            assert by_curl("--path-as-is", f"{base}//{other.removeprefix('http://')}/") in [302, 400], "the API, or none"
            assert by_curl("-H", f"Host: {other.removeprefix('http://')}", "-H", f"X-Forwarded-Host: {other}", f"{base}/") in [302, 421]
            assert len(elsewhere) == 3 and len(seen) >= before
            assert "eyJ" not in open(log).read()
        return f"{len(elsewhere)} redirects"
    finally:
        server.remove()


def gd4_a_request_whose_token_is_refused_is_sent_once_more_with_another(program):
    """After a 401 that blames the token, the app gets the answer to a second token; an API that refuses all gets no request three times."""
    refused, challenge = set(), {"WWW-Authenticate": 'Bearer error="invalid_token"'}
    server = Server(program)
    try:
        with recording(lambda token: (401, challenge) if token in refused or "all" in refused else (200, {})) as (api, seen):
            with attach(program, server, api, pathlib.Path(server.folder, "orders.sock")) as (base, log):
                assert by_curl(f"{base}/orders") == 200
                first = seen[0][1]
                refused.add(first)
                # For some seconds after a token was fetched, no other is.
                until(lambda: by_curl(f"{base}/orders") == 200, 120, "another token is used")
                (_, again, its_id), (_, last, last_id) = seen[-2:]
                assert (again, its_id) == (first, last_id) and last != first, "the same request, once with each token"
                refused.add("all")

                def refused_twice():
                    assert by_curl(f"{base}/orders") == 401, "the app gets the refusal"
                    return len({authorization for _, authorization, request_id in seen if request_id == seen[-1][2]}) == 2

                until(refused_twice, 120, "a request is sent with a second token")
                ids = [request_id for _, _, request_id in seen]
                assert max(map(ids.count, ids)) == 2, "no request is sent three times"
                assert "eyJ" not in open(log).read()
        return f"{len(seen)} requests"
    finally:
        server.remove()
