"""The containers of examples/sidecar, started as the manifests say: the same arguments, variables, users, mounted files and probes.

Three things differ: paths of the container are folders of this run, names and ports are addresses of this machine, and the management listener has
a port of its own. No container engine is needed. SIDECAR_MANIFESTS names the JSON that tests/packaging/manifests prints.
"""
# needs: go=golang-go openssl=openssl update-ca-certificates=ca-certificates

import contextlib
import http.server
import json
import os
import pathlib
import re
import shlex
import shutil
import ssl
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request

from world import ALLOW, Server, free_port, until

ROOT = pathlib.Path(__file__).parents[2]
API = "http://127.0.0.1:3000"
# The group of the user that the image has: another one than fsGroup.
GROUP_OF_IMAGE = 999


class Manifests:
    def __init__(self):
        read = json.loads(pathlib.Path(os.environ["SIDECAR_MANIFESTS"]).read_text())
        self.services = read["compose"]["services"]
        self.compose = read["compose"]
        self.objects = {(found["kind"], found["metadata"]["name"]): found for found in read["kubernetes"]}

    def object(self, kind, name):
        return self.objects[kind, name]

    def pod(self, deployment):
        return self.object("Deployment", deployment)["spec"]["template"]["spec"]

    def container(self, deployment, name):
        pod = self.pod(deployment)
        return next(found for found in [*pod.get("initContainers", []), *pod["containers"]] if found["name"] == name)


def variables(container):
    return {variable["name"]: variable["value"] for variable in container["env"]}


def image_variables():
    """What examples/Containerfile sets for every container."""
    text = (ROOT / "examples/Containerfile").read_text()
    words = shlex.split(re.search(r"^ENV (.*)$", text, re.MULTILINE).group(1))
    return dict(word.split("=", 1) for word in words)


# In a Secret, which is in a file system in memory, others cannot replace files (the sticky bit). With fsGroup, both have the group's bit.
SECRET, CONFIG_MAP = 0o3777, 0o2777


def mounted_by_kubelet(volume, files, mode, group, mode_of_volume=SECRET):
    """Writes a volume as the kubelet does: links to the files in a folder of this version, which belong to root and the group of the pod. Called
    again, it replaces the version in one step."""
    if not volume.exists():
        volume.mkdir()
        os.chown(volume, 0, group)
        volume.chmod(mode_of_volume)
    version = pathlib.Path(tempfile.mkdtemp(prefix="..", dir=volume))
    version.chmod(0o2755)
    os.chown(version, 0, group)
    for name, text in files.items():
        file = version / name
        file.write_text(text)
        os.chown(file, 0, group)
        # The kubelet adds reading by the group to the mode of a volume with fsGroup.
        file.chmod(mode | 0o440)
        if not (volume / name).is_symlink():
            (volume / name).symlink_to(f"..data/{name}")
    (volume / "..data_tmp").symlink_to(version.name)
    (volume / "..data_tmp").rename(volume / "..data")


def mounted_by_compose(file, text, user):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    os.chown(file, user, user)
    file.chmod(0o400)


class World:
    """The issuer with the client `billing`, an API, certificates, and what stands in the manifests for something else here."""

    def __init__(self, program):
        assert os.geteuid() == 0, "missing: root, to run containers as their users"
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.folder.chmod(0o755)
        # The folder of the build may be closed to other users.
        self.program = self.folder / "sealwright"
        shutil.copy(program, self.program)
        self.program.chmod(0o755)
        # The image's, which no container can write to.
        self.workdir = self.folder / "workdir"
        self.workdir.mkdir(mode=0o755)
        self.server = Server(program)
        self.issuer = self.server._event("serving")["issuer"]
        self.secret = json.loads(self.server.run("client", "create", "billing", "--grant", "client_credentials", *ALLOW, "--json"))["secret"]["value"]
        self.guard, self.attach = free_port(), free_port()
        self.seen = []
        self.api = self._api()
        self._certificates()

    def _api(self):
        world = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                world.seen.append((self.path, self.headers))
                body = b'["tea"]'
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_):
                pass

        api = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=api.serve_forever, daemon=True).start()
        return api

    def _certificates(self):
        def openssl(*arguments):
            subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=a CA of the network", "-days", "2")
        openssl("req", *key, "-keyout", "orders.key", "-out", "orders.csr", "-subj", "/CN=orders")
        (self.folder / "names").write_text("subjectAltName=DNS:localhost\n")
        openssl("x509", "-req", "-in", "orders.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "orders.pem",
                "-extfile", "names", "-days", "2")

    def text(self, name):
        return (self.folder / name).read_text()

    def rules(self, text):
        assert "https://auth.example" in text
        return text.replace("https://auth.example", self.issuer)

    def addresses(self):
        api, guard = f"http://127.0.0.1:{self.api.server_address[1]}", f"https://localhost:{self.guard}"
        return {
            "https://auth.example": self.issuer, "https://orders.shop.svc": guard, "https://orders:8443": guard,
            "0.0.0.0:8443": f"127.0.0.1:{self.guard}", "127.0.0.1:9100": f"127.0.0.1:{self.attach}",
            API: api, "http://orders-api:3000": api,
        }

    def remove(self):
        self.api.shutdown()
        self.server.remove()
        shutil.rmtree(self.folder, ignore_errors=True)


class Container:
    """A process of the image, with the variables and mounted paths of one container."""

    def __init__(self, world, arguments, environment, mounts, user, groups, management):
        self.world, self.arguments, self.user = world, arguments, user
        self.groups = groups
        values = {**image_variables(), **environment}
        for stands, is_here in {**mounts, **world.addresses()}.items():
            values = {name: value.replace(stands, str(is_here)) for name, value in values.items()}
        missing = [value for value in values.values() if value.startswith("/") and not pathlib.Path(value).exists()]
        assert not missing, f"no volume has {missing}"
        self.environment = {"PATH": os.environ["PATH"], "HOME": "/var/lib/sealwright", **values, management: f"127.0.0.1:{free_port()}"}
        self.log = open(world.folder / f"{arguments[0]}-{free_port()}.log", "w+")

    def _as_its_user(self):
        return {"env": self.environment, "cwd": self.world.workdir, "user": self.user, "group": self.groups[0], "extra_groups": self.groups[1:]}

    def __enter__(self):
        self.process = subprocess.Popen([self.world.program, *self.arguments], stdout=self.log, stderr=self.log, **self._as_its_user())
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def refuses_to_start(self, *words):
        with self:
            code = self.process.wait(timeout=60)
        log = pathlib.Path(self.log.name).read_text()
        assert code == 78 and all(word in log for word in words), (code, log)

    def asked_by(self, command):
        """The exit code of a probe, and what it says."""
        assert command[0] == "/usr/local/bin/sealwright", command
        done = subprocess.run([self.world.program, *command[1:]], capture_output=True, text=True, timeout=60, **self._as_its_user())
        return done.returncode, done.stdout + done.stderr

    def says_yes_to(self, command, seconds=60):
        def yes():
            assert self.process.poll() is None, pathlib.Path(self.log.name).read_text()
            return self.asked_by(command)[0] == 0

        until(yes, seconds, shlex.join(command))

    def ends_cleanly(self):
        self.process.terminate()
        assert self.process.wait(timeout=60) == 0, pathlib.Path(self.log.name).read_text()
        text = pathlib.Path(self.log.name).read_text()
        assert "eyJ" not in text and "sw_" not in text, "no token and no secret is in the log"


def of_pod(world, manifests, deployment, name, management, volumes):
    """A container of a pod. `volumes` are the folders of the pod's volumes."""
    pod, container = manifests.pod(deployment), manifests.container(deployment, name)
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    groups = [GROUP_OF_IMAGE, pod["securityContext"]["fsGroup"]]
    return Container(world, container["args"], variables(container), mounts, container["securityContext"]["runAsUser"], groups, management)


def of_service(world, manifests, name, management, contents):
    """A service of the compose file. `contents` are those of its configs and secrets."""
    service = manifests.services[name]
    user, group = map(int, service["user"].split(":"))
    mounts = {}
    for kind in ["configs", "secrets"]:
        for mount in service[kind]:
            here = world.folder / name / mount["target"].lstrip("/")
            mounted_by_compose(here, contents[mount["source"]], user)
            mounts[mount["target"]] = here
    # Folders that a variable names.
    mounts |= {str(pathlib.Path(target).parent): here.parent for target, here in mounts.items() if "/ca/" in target}
    return Container(world, service["command"], service["environment"], mounts, user, [group], management)


def asked(url, method="GET", trusting=None):
    handlers = [urllib.request.ProxyHandler({})]
    if trusting:
        handlers.append(urllib.request.HTTPSHandler(context=trusting))
    try:
        with urllib.request.build_opener(*handlers).open(urllib.request.Request(url, method=method), timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def sends_through_both(world, orders_url):
    """The app's requests: one that the rules admit, one that they refuse, and one past attach."""
    orders = f"{orders_url}/orders"
    del world.seen[:]
    answer = asked(orders)
    assert answer == (200, '["tea"]'), answer
    [(path, headers)] = world.seen
    assert path == "/orders" and headers["X-Token-Client"] == "billing" and "Authorization" not in headers, headers.items()
    status, text = asked(orders, "POST")
    assert status == 403 and "insufficient_scope" in text, (status, text)
    trusting = ssl.create_default_context(cafile=world.folder / "ca.pem")
    assert asked(f"https://localhost:{world.guard}/orders", trusting=trusting)[0] == 401, "without a token"
    assert len(world.seen) == 1, "what is refused does not reach the API"


def app_url(world, environment):
    url = environment["ORDERS_URL"]
    assert url == "http://127.0.0.1:9100", url
    return url.replace("127.0.0.1:9100", f"127.0.0.1:{world.attach}")


GUARD, ATTACH = "SEALWRIGHT_GUARD_MANAGEMENT_LISTEN", "SEALWRIGHT_ATTACH_MANAGEMENT_LISTEN"


def volumes_of(world, manifests, deployment, contents):
    """The folders of a pod's volumes, with these contents by the name of the Secret or ConfigMap."""
    pod, volumes = manifests.pod(deployment), {}
    for volume in pod["volumes"]:
        folder = world.folder / f"{deployment}-{volume['name']}"
        if "secret" in volume:
            source = volume["secret"]
            mounted_by_kubelet(folder, contents[source["secretName"]], source["defaultMode"], pod["securityContext"]["fsGroup"])
        else:
            mounted_by_kubelet(folder, contents[volume["configMap"]["name"]], 0o644, pod["securityContext"]["fsGroup"], CONFIG_MAP)
        volumes[volume["name"]] = folder
    return volumes


def gd4_pods_as_in_the_manifests_send_a_request_through_attach_and_guard_to_the_api(program):
    """Secrets are mounted as the kubelet mounts them, probes say what they should, and a corrected Secret is read without a restart."""
    manifests, world = Manifests(), World(program)
    try:
        rules = next(found for (kind, name), found in manifests.objects.items() if kind == "ConfigMap")
        orders = volumes_of(world, manifests, "orders", {
            rules["metadata"]["name"]: {"rules.toml": world.rules(rules["data"]["rules.toml"])},
            "orders-tls": {"tls.crt": world.text("orders.pem"), "tls.key": world.text("orders.key")},
        })
        wrong = f"sw_{world.secret[3:]}x"
        billing = volumes_of(world, manifests, "billing", {"billing-client": {"secret": wrong}, "orders-ca": {"ca.pem": world.text("ca.pem")}})
        guard = of_pod(world, manifests, "orders", "guard", GUARD, orders)
        attach = of_pod(world, manifests, "billing", "attach", ATTACH, billing)
        probes = manifests.container("billing", "attach")
        startup, liveness = (probes[name]["exec"]["command"] for name in ["startupProbe", "livenessProbe"])
        with guard, attach:
            attach.says_yes_to(liveness)
            until(lambda: "does not accept this client with this secret" in attach.asked_by(startup)[1], 60, "the reason why the app does not start")
            assert attach.asked_by(startup)[0] != 0
            group = manifests.pod("billing")["securityContext"]["fsGroup"]
            mounted_by_kubelet(billing["secret"], {"secret": world.secret + "\n"}, 0o400, group)
            # A client asks again a minute after a refusal.
            attach.says_yes_to(startup, 180)

            probes = manifests.container("orders", "guard")
            for name in ["readinessProbe", "livenessProbe"]:
                guard.says_yes_to(probes[name]["exec"]["command"])
            probe = manifests.container("orders", "orders-api")["readinessProbe"]["httpGet"]
            assert (probe["scheme"], probe["port"]) == ("HTTPS", 8443)
            # The kubelet checks no certificate, and sends the address of the pod as Host.
            anything = ssl._create_unverified_context()
            assert asked(f"https://127.0.0.1:{world.guard}{probe['path']}", trusting=anything)[0] == 200

            sends_through_both(world, app_url(world, variables(manifests.container("billing", "billing"))))

            world.server.process.kill()
            attach.says_yes_to(liveness)
            attach.ends_cleanly()
            guard.ends_cleanly()
        return "2 pods, 5 probes"
    finally:
        world.remove()


def gd4_services_as_in_the_compose_file_send_a_request_through_attach_and_guard_to_the_api(program):
    """The health checks succeed, and secrets are files of the container's user."""
    manifests, world = Manifests(), World(program)
    try:
        rules = world.rules((ROOT / "examples/sidecar" / manifests.compose["configs"]["rules"]["file"]).read_text())
        contents = {"rules": rules, "ca.pem": world.text("ca.pem"), "billing": world.secret}
        contents |= {name: world.text(name) for name in ["orders.pem", "orders.key"]}
        guard = of_service(world, manifests, "orders", GUARD, contents)
        attach = of_service(world, manifests, "billing-attach", ATTACH, contents)
        with guard, attach:
            for name, container in [("orders", guard), ("billing-attach", attach)]:
                form, *command = manifests.services[name]["healthcheck"]["test"]
                assert form == "CMD", "a command without a shell"
                container.says_yes_to(command)
            sends_through_both(world, app_url(world, manifests.services["billing"]["environment"]))
            attach.ends_cleanly()
            guard.ends_cleanly()
        return "2 services, 2 health checks"
    finally:
        world.remove()


def hd9_a_secret_that_is_mounted_for_everyone_refuses_the_start(program):
    """0644 is what Kubernetes makes of a Secret without defaultMode, and what a file for Compose often has."""
    manifests, world = Manifests(), World(program)
    try:
        contents = {"billing-client": {"secret": world.secret}, "orders-ca": {"ca.pem": world.text("ca.pem")}}
        volumes = volumes_of(world, manifests, "billing", contents)
        mounted_by_kubelet(volumes["secret"], contents["billing-client"], 0o644, manifests.pod("billing")["securityContext"]["fsGroup"])
        of_pod(world, manifests, "billing", "attach", ATTACH, volumes).refuses_to_start("defaultMode: 0400", "644")
        contents = {"ca.pem": world.text("ca.pem"), "billing": world.secret}
        attach = of_service(world, manifests, "billing-attach", ATTACH, contents)
        pathlib.Path(attach.environment["SEALWRIGHT_ATTACH_SECRET_FILE"]).chmod(0o644)
        attach.refuses_to_start("644", "chmod")
        return "2 refused"
    finally:
        world.remove()
