"""Proxies in front of the server, as their packages install them."""

# needs: nginx=nginx-light haproxy=haproxy caddy=caddy

import concurrent.futures
import contextlib
import http.client
import os
import shutil
import subprocess
import tempfile
import time

from world import Server, free_port, until

# Longer than nginx and HAProxy keep a connection to us by default.
PAUSE = 61

# What every configuration of nginx here begins with: all of its files lie in one folder. What follows is in the block `http`, and closes it.
NGINX_HEAD = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
"""

NGINX = (
    NGINX_HEAD
    + """
    upstream sealwright {{
        server {host}:{port};
        keepalive 64;
        keepalive_timeout 120s;
    }}
    server {{
        listen 127.0.0.1:{listen};
        keepalive_timeout 200s;
        location / {{
            proxy_pass http://sealwright;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""
)

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 200s
    timeout server 60s
    timeout http-keep-alive 200s
    http-reuse always
    retries 0
frontend in
    bind 127.0.0.1:{listen}
    default_backend sealwright
backend sealwright
    server one {host}:{port} pool-purge-delay 120s
"""

CADDY = """
{{
    admin off
    auto_https off
}}
http://127.0.0.1:{listen} {{
    reverse_proxy {host}:{port}
}}
"""

COMMANDS = {
    "nginx": lambda path, folder: ["nginx", "-c", path, "-p", folder],
    "haproxy": lambda path, folder: ["haproxy", "-db", "-f", path],
    "caddy": lambda path, folder: ["caddy", "run", "--config", path, "--adapter", "caddyfile"],
}


@contextlib.contextmanager
def proxy(name, text, server):
    folder, listen = tempfile.mkdtemp(), free_port()
    host, port = server.address
    path = f"{folder}/{name}.conf"
    with open(path, "w") as file:
        file.write(text.format(folder=folder, host=host, port=port, listen=listen))
    command = COMMANDS[name](path, folder)
    environment = {**os.environ, "HOME": folder, "PATH": os.environ["PATH"] + ":/usr/sbin"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def answers():
        try:
            return server.ask("GET", "/health/live", address=("127.0.0.1", listen))[0] == 200
        except OSError:
            return False

    try:
        until(answers, 10, f"{name} serves")
        yield ("127.0.0.1", listen)
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def posts(server, address):
    """Four callers at once: each sends a POST, waits for as long as a proxy keeps a connection, and sends another."""

    def caller(_):
        form = f"grant_type=client_credentials&client_id=shop&client_secret={server.secrets['shop']}"
        headers = {"content-type": "application/x-www-form-urlencoded"}
        connection = http.client.HTTPConnection(*address, timeout=30)
        statuses = []
        for pause in [0, 11, PAUSE]:
            time.sleep(pause)
            connection.request("POST", "/oauth/token", form, headers)
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
        connection.close()
        return statuses

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return [status for statuses in pool.map(caller, range(4)) for status in statuses]


def op7_idle_connections_of_a_proxy_are_never_closed_before_it_closes_them(program):
    """nginx with `keepalive 64`, HAProxy with `http-reuse always`, Caddy by default: POSTs 11 s and 61 s after the previous one are all answered."""
    server = Server(program, behind_proxy="127.0.0.1")
    try:
        with contextlib.ExitStack() as stack:
            proxies = [stack.enter_context(proxy(*which, server)) for which in [("nginx", NGINX), ("haproxy", HAPROXY), ("caddy", CADDY)]]
            opened = server.metric("sealwright_connections")
            with concurrent.futures.ThreadPoolExecutor(len(proxies)) as pool:
                through = list(pool.map(lambda address: posts(server, address), proxies))
            kept = server.metric("sealwright_connections")
        assert set(sum(through, [])) == {200}, through
    finally:
        server.remove()
    return f"{len(sum(through, []))} POSTs, none was 502; {opened:.0f} connections at first, {kept:.0f} kept at the end"
