"""An API in Python, by WSGI: it answers every request, and reports what it received.

It prints the port of the API and the port of its reports. WSGI gives `X_Token_Subject` the name of `X-Token-Subject`, as CGI does.
"""

import json
import threading
import wsgiref.simple_server
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import ThreadingMixIn

received = []


def body_of(environ):
    if environ.get("HTTP_TRANSFER_ENCODING", "").lower() != "chunked":
        return environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    body = b""
    while size := int(environ["wsgi.input"].readline(), 16):
        body += environ["wsgi.input"].read(size)
        environ["wsgi.input"].readline()
    environ["wsgi.input"].readline()
    return body


def api(environ, start_response):
    body = body_of(environ)
    names = {name: value for name, value in environ.items() if name.startswith("HTTP_")}
    received.append({
        "method": environ["REQUEST_METHOD"],
        "target": environ["TARGET"],
        "headers": environ["HEADERS"],
        "names": names,
        "body": body.decode(),
    })
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"in"]


class Handler(wsgiref.simple_server.WSGIRequestHandler):
    def get_environ(self):
        # `self.path` is without a second slash at its start.
        return super().get_environ() | {"TARGET": self.requestline.split(" ")[1], "HEADERS": self.headers.items()}

    def log_message(self, *_):
        pass


class Server(ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True


class Reports(BaseHTTPRequestHandler):
    def do_GET(self):
        report = json.dumps(received).encode()
        received.clear()
        self.send_response(200)
        self.send_header("Content-Length", str(len(report)))
        self.end_headers()
        self.wfile.write(report)

    def log_message(self, *_):
        pass


server = Server(("127.0.0.1", 0), Handler)
server.set_app(api)
reports = ThreadingHTTPServer(("127.0.0.1", 0), Reports)
threading.Thread(target=reports.serve_forever, daemon=True).start()
print(json.dumps([server.server_address[1], reports.server_address[1]]), flush=True)
server.serve_forever()
