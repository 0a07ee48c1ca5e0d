"""The gateways, each with its unchanged file of `examples/gateways`, except for the addresses."""
# needs: nginx=nginx-light haproxy=haproxy

import contextlib
import http.client
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field

from asking import ask
from world import free_port, until

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples/gateways"

# All files of nginx lie in the folder of the test.
NGINX_FOLDER = """daemon off;
pid nginx.pid;
events {}"""
NGINX_PATHS = "http {\n    access_log off;\n" + "".join(
    f"    {kind}_temp_path {kind};\n" for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
)


@dataclass
class Gateway:
    name: str
    # What the guard calls it.
    kind: str
    # The first is the one that it is started with.
    files: list
    command: list
    version: list
    # What else is replaced in its files: nothing that decides about requests.
    replaced: dict = field(default_factory=dict)
    # Whether its file lets WebSockets pass.
    websockets: bool = True

    @property
    def program(self):
        """From the packages of Python in the folder of the running one, or of the system."""
        beside = pathlib.Path(sys.prefix, "bin", self.command[0])
        found = str(beside) if beside.exists() else shutil.which(self.command[0], path=f"{os.environ['PATH']}:/usr/sbin")
        assert found, f"missing: {self.command[0]}"
        return found

    def version_text(self):
        said = subprocess.run([self.program, *self.version], capture_output=True, text=True, check=True)
        return re.search(r"\d+\.\d+\.\d+", said.stdout + said.stderr)[0]

    @contextlib.contextmanager
    def running(self, guard_port, api_port):
        """Returns its port."""
        port = free_port()
        replaced = {}
        for old, new in [(8000, port), (9000, guard_port), (3000, api_port)]:
            for form in ["127.0.0.1:{}", "http://:{}", "port_value: {} "]:
                replaced[form.format(old)] = form.format(new)
        folder = tempfile.mkdtemp()
        # The workers of nginx are not root.
        os.chmod(folder, 0o755)
        for name in self.files:
            text = (EXAMPLES / name).read_text()
            for old, new in (replaced | self.replaced).items():
                text = text.replace(old, new)
            for old in [8000, 9000, 3000]:
                assert not re.search(rf"\b{old}\b", text), f"{name}: the address with {old} is not replaced"
            pathlib.Path(folder, name).write_text(text)
        arguments = [argument.format(file=self.files[0], folder=folder) for argument in self.command[1:]]
        environment = os.environ | {"HOME": folder, "XDG_DATA_HOME": folder, "XDG_CONFIG_HOME": folder}
        with open(f"{folder}/log", "w+") as log:
            process = subprocess.Popen([self.program, *arguments], cwd=folder, env=environment, stdout=log, stderr=log)
            try:

                def asks_the_guard():
                    assert process.poll() is None, f"{self.name}: {pathlib.Path(folder, 'log').read_text()}"
                    with contextlib.suppress(OSError, http.client.HTTPException):
                        # Traefik answers 404 until it has read its routes.
                        return ask(port, "/orders").status == 401

                until(asks_the_guard, 60, f"{self.name} asks the guard")
                yield port
            finally:
                process.terminate()
                process.wait(timeout=60)
                shutil.rmtree(folder, ignore_errors=True)


NGINX = Gateway(
    "nginx", "nginx", ["nginx.conf"], ["nginx", "-e", "stderr", "-p", "{folder}", "-c", "{folder}/{file}"], ["-v"],
    {"events {}": NGINX_FOLDER, "http {\n": NGINX_PATHS}, websockets=False)
CADDY = Gateway(
    "Caddy", "forward-auth", ["Caddyfile"], ["caddy", "run", "--adapter", "caddyfile", "--config", "{file}"], ["version"],
    # Without its own interface for operators, which has a fixed port.
    {"http://:": "{\n\tadmin off\n}\n\nhttp://:"})
HAPROXY = Gateway("HAProxy", "haproxy", ["haproxy.cfg", "guard.lua"], ["haproxy", "-f", "{file}"], ["-v"])
TRAEFIK = Gateway("Traefik", "forward-auth", ["traefik.yaml", "traefik-routes.yaml"], ["traefik", "--configFile={file}"], ["version"])
ENVOY = Gateway(
    "Envoy", "envoy", ["envoy.yaml"], ["envoy", "-c", "{file}", "--use-dynamic-base-id", "--concurrency", "2"], ["--version"], websockets=False)
