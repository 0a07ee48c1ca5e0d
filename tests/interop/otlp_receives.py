"""A receiver of OpenTelemetry spans: checks the spans of one sign-in."""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.parse
import urllib.request

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse

program, folder = sys.argv[1], sys.argv[2]
received = []


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        assert self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf", (self.path, self.headers)
        request = ExportTraceServiceRequest()
        request.ParseFromString(self.rfile.read(int(self.headers["content-length"])))
        received.append(request)
        body = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=receiver.serve_forever, daemon=True).start()

environment = {**os.environ, "SEALWRIGHT_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.server_port}"}
arguments = [program, "serve", "--listen", "127.0.0.1:0", "--management-listen", "off", "--log-format", "json"]
server = subprocess.Popen(arguments, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
for line in server.stderr:
    event = json.loads(line)
    if event["message"] == "serving":
        break
threading.Thread(target=server.stderr.read, daemon=True).start()
issuer = event["issuer"]


def run(*command, typed=None):
    done = subprocess.run([program, *command, "--json"], cwd=folder, input=typed, text=True, capture_output=True, check=True)
    return json.loads(done.stdout)


password = "plum trousers at the gate"
allow = ["--allow", "https://orders.example=orders:read"]
run("resource", "create", "https://orders.example", "--scope", "orders:read")
shop = run("client", "create", "shop", "--grant", "password", *allow)
run("user", "create", "alice", "--password-stdin", *allow, typed=password + "\n")

trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
form = {"grant_type": "password", "username": "alice", "password": password}
form |= {"client_id": "shop", "client_secret": shop["secret"]["value"]}
request = urllib.request.Request(f"{issuer}/oauth/token", data=urllib.parse.urlencode(form).encode())
request.add_header("traceparent", f"00-{trace}-{parent}-01")
urllib.request.urlopen(request).read()
server.send_signal(signal.SIGTERM)
assert server.wait(timeout=60) == 0

resources = [resource for request in received for resource in request.resource_spans]
names = {attribute.key: attribute.value.string_value for attribute in resources[0].resource.attributes}
assert names["service.name"] == "sealwright" and names["service.version"], names
spans = [span for resource in resources for scope in resource.scope_spans for span in scope.spans]
ours = [span for span in spans if span.trace_id.hex() == trace]
by_name = {span.name: span for span in ours}
root = by_name["POST /oauth/token"]
assert root.parent_span_id.hex() == parent, "it is a part of its caller's trace"
assert root.kind == root.SPAN_KIND_SERVER


def attributes(span):
    return {attribute.key: attribute.value for attribute in span.attributes}


said = attributes(root)
assert said["http.route"].string_value == "/oauth/token" and said["client.id"].string_value == "shop", said
assert said["http.response.status_code"].int_value == 200, said
for name in ["authenticate", "sign_in", "hash_password", "sign", "write", "find_client", "find_credentials"]:
    assert name in by_name, (name, sorted(by_name))
for name in ["hash_password", "sign"]:
    assert attributes(by_name[name])["queued_us"].int_value >= 0, f"{name} says how long it waited for a thread"
ids = {span.span_id for span in ours}
assert all(span is root or span.parent_span_id in ids for span in ours), "every other span has its parent here"
assert password not in str(received) and shop["secret"]["value"] not in str(received)
print(f"otlp: {len(ours)} spans of one sign-in, within the caller's trace")
