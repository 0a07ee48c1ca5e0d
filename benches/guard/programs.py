"""The programs that are measured, each as a process with an address, and what they use."""

import contextlib
import http.client
import json
import os
import pathlib
import shutil
import socket
import subprocess
import time

import processes

# needs: nginx=nginx

PATIENCE, HOST = 60, "localhost"
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE} s"
        time.sleep(0.05)


class Program:
    """A process, and the processes that it starts."""

    def __init__(self, folder, name, command, environment={}):
        self.log = pathlib.Path(folder, f"{name}.log")
        # The variables of the caller of this program must not reach them.
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("SEALWRIGHT_")}
        # Appending, so that it can be emptied.
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, cwd=folder, env=inherited | environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.name = name

    def check(self):
        assert self.process.poll() is None, f"{self.name} ended:\n{self.log.read_text()[-4000:]}"

    def until(self, condition, what):
        try:
            until(condition, f"{self.name} {what}")
        except BaseException:
            # No other process has it yet.
            self.stop()
            raise

    def empty_log(self):
        os.truncate(self.log, 0)

    def wait_for(self, address):
        host, port = address.rsplit(":", 1)

        def listens():
            self.check()
            with socket.socket() as caller:
                return caller.connect_ex((host, int(port))) == 0

        self.until(listens, "listens")
        self.address = address
        return self

    def cpu_seconds(self):
        return processes.cpu_seconds(self.process.pid)

    def resident_mib(self, field="VmRSS"):
        return processes.resident_mib(self.process.pid, field)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Sealwright(Program):
    """`sealwright guard` or `sealwright attach`, as it comes: it logs each request."""

    def __init__(self, folder, name, program, command, *flags, environment={}):
        listen = ["--listen=127.0.0.1:0", "--management-listen=127.0.0.1:0", "--log-format=json"]
        super().__init__(folder, name, [program, command, *listen, *flags], environment)
        self.serving = None

        def serves():
            self.check()
            # The last line may be half written.
            events = [json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.startswith("{") and line.endswith("\n")]
            self.serving = next((event for event in events if event["message"] == "serving"), None)
            return self.serving

        self.until(serves, "serves")
        self.address = self.serving["listen"]
        self.management = self.serving["metrics"].removeprefix("http://").removesuffix("/metrics")
        self.until(lambda: ask(self.management, "/health/ready")[0] == 200, "is ready")

    def metric(self, name):
        text = ask(self.management, "/metrics")[1].decode()
        return float(next(line.split()[-1] for line in text.splitlines() if line.startswith(f"{name} ")))


def ask(address, path, headers={}, body=None):
    """Status and body of a GET, or of a POST if there is a body. The callers' `Host` is sent: a program may have a site for another one alone."""
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request("POST" if body else "GET", path, body, {"Host": HOST} | headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


# All of nginx's files lie in one folder. Connections are kept as long as a run takes, on both sides.
NGINX_HEAD = """
daemon off;
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    keepalive_timeout 1h;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_http_version 1.1;
    client_body_buffer_size 128k;
"""

# The answer of the API.
ANSWER = b'{"id":7,"item":"tea"}'

# The API. It costs next to nothing, so that it is not what is measured.
API = """
    server {{
        listen 127.0.0.1:{port} backlog=16384;
        location / {{ default_type application/json; return 200 '{answer}'; }}
        location /files/ {{ root {folder}; sendfile on; tcp_nopush on; open_file_cache max=10; }}
    }}
}}
"""

FRONT = """
    upstream api {{ server {api}; keepalive 128; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=16384;
        location / {{
            proxy_set_header Authorization "";
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_pass http://api;
        }}
    }}
}}
"""

# As examples/gateways/nginx.conf, without what concerns refused requests.
CHECKED_FRONT = """
    upstream api {{ server {api}; keepalive 128; keepalive_requests 100000000; }}
    upstream checker {{ server {checker}; keepalive 128; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=16384;
        location / {{
            auth_request /_check;
            auth_request_set $token_subject $upstream_http_x_token_subject;
            auth_request_set $token_client $upstream_http_x_token_client;
            auth_request_set $token_scope $upstream_http_x_token_scope;
            auth_request_set $token_issuer $upstream_http_x_token_issuer;
            auth_request_set $token_claims $upstream_http_x_token_claims;
            proxy_set_header X-Token-Subject $token_subject;
            proxy_set_header X-Token-Client $token_client;
            proxy_set_header X-Token-Scope $token_scope;
            proxy_set_header X-Token-Issuer $token_issuer;
            proxy_set_header X-Token-Claims $token_claims;
            proxy_set_header Authorization "";
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_pass http://api;
        }}
        location = /_check {{
            internal;
            proxy_pass http://checker{path};
            proxy_pass_request_body off;
            proxy_set_header Connection "";
            proxy_set_header Content-Length "";
            proxy_set_header X-Original-Method $request_method;
            proxy_set_header X-Original-URI $request_uri;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_buffer_size 16k;
            proxy_buffers 4 16k;
        }}
    }}
}}
"""


# A checker that admits everything: about the least that a check by `auth_request` costs.
ADMITTING = """
    server {{
        listen 127.0.0.1:{port} backlog=16384;
        location / {{
            add_header X-Token-Subject billing;
            add_header X-Token-Client billing;
            add_header X-Token-Scope orders:read;
            return 200;
        }}
    }}
}}
"""


def nginx(folder, name, text, **values):
    home, port = pathlib.Path(folder, name), free_port()
    home.mkdir()
    # Its workers are not root.
    home.chmod(0o755)
    config = home / "nginx.conf"
    config.write_text((NGINX_HEAD + text).format(folder=home, port=port, **values))
    program = Program(folder, name, [NGINX, "-c", config, "-p", home])
    return program.wait_for(f"127.0.0.1:{port}")


def api(folder, files):
    """An API with these files by their names."""
    program = nginx(folder, "api", API, answer=ANSWER.decode())
    served = pathlib.Path(folder, "api/files")
    served.mkdir()
    for name, content in files.items():
        (served / name).write_bytes(content)
    return program


CADDYFILE = """
{{
    admin off
    auto_https off
}}
http://:{port} {{
    bind 127.0.0.1
    {log}
    reverse_proxy {api}
}}
"""


def caddy(folder, name, api_address, log=""):
    port = free_port()
    config = pathlib.Path(folder, f"{name}.Caddyfile")
    config.write_text(CADDYFILE.format(port=port, api=api_address, log=log))
    home = {"HOME": folder, "XDG_DATA_HOME": folder, "XDG_CONFIG_HOME": folder}
    return Program(folder, name, ["caddy", "run", "--adapter", "caddyfile", "--config", config], home).wait_for(f"127.0.0.1:{port}")


def pyjwt(folder, uvicorn, issuer, audience):
    """Two workers, for two cores."""
    port = free_port()
    application = ["--app-dir", pathlib.Path(__file__).parent, "checker:app"]
    options = ["--workers=2", "--loop=uvloop", "--http=httptools", "--lifespan=off", "--no-access-log", "--timeout-keep-alive=3600"]
    environment = {"CHECKER_ISSUER": issuer, "CHECKER_AUDIENCE": audience, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [uvicorn, "--host=127.0.0.1", f"--port={port}", *options, *application]
    return Program(folder, "pyjwt", command, environment).wait_for(f"127.0.0.1:{port}")


def oauth2_proxy(folder, issuer, audience, api_address):
    """It checks bearer tokens, and no user signs in."""
    port = free_port()
    settings = {
        "provider": "oidc",
        "oidc-issuer-url": issuer,
        "client-id": audience,
        "client-secret": "none",
        "cookie-secret": "0123456789abcdef0123456789abcdef",
        "redirect-url": "http://localhost/oauth2/callback",
        "email-domain": "*",
        "oidc-email-claim": "sub",
        "skip-jwt-bearer-tokens": "true",
        "upstream": f"http://{api_address}/",
        "http-address": f"127.0.0.1:{port}",
        "reverse-proxy": "true",
        "trusted-proxy-ip": "127.0.0.1",
        "request-logging": "false",
        "auth-logging": "false",
    }
    command = ["oauth2-proxy", *(f"--{name}={value}" for name, value in settings.items())]
    return Program(folder, "oauth2-proxy", command).wait_for(f"127.0.0.1:{port}")
