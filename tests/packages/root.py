"""Fresh root file systems, and programs that run in them as other users."""

import atexit
import base64
import contextlib
import functools
import http.client
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.parse

from artifacts import output

# needs: debootstrap=debootstrap unshare=util-linux

RESOURCE = "https://orders.example"
PATIENCE = 60


@functools.cache
def pristine():
    """A minimal Debian of this machine's release, from the mirror that apt is configured with."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    lines = output("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages", "Component: main").splitlines()
    # The first one: those of updates and of security come later.
    mirror, release = lines[0].split()
    # adduser is what the package depends on; dpkg does not fetch it.
    subprocess.run(["debootstrap", "--variant=minbase", "--include=adduser", release, folder, mirror], check=True, stdout=subprocess.DEVNULL)
    return folder


class Root:
    """A root file system."""

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def command(self, user, folder, command, environment=(), read_only_but=None):
        """The command that runs another one in this root: as this user and group, in this folder, with these variables alone. Its mounts end with it.
        `read_only_but` makes all read-only apart from the folder, on which it is mounted."""
        uid, gid = user
        (self.path / "proc").mkdir(exist_ok=True)
        mounts = []
        if read_only_but:
            mounts += ['mount --bind "$R" "$R"', 'mount -o remount,bind,ro "$R"', f'mount --bind {shlex.quote(str(read_only_but))} "$R{folder}"']
        mounts += ['mount -t proc proc "$R/proc"']
        inside = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *(f"{name}={value}" for name, value in dict(environment).items()),
                  "unshare", f"--root={self.path}", f"--wd={folder}", f"--setuid={uid}", f"--setgid={gid}", *command]
        script = f"R={shlex.quote(str(self.path))}; {' && '.join(mounts)} && exec {shlex.join(map(str, inside))}"
        return ["unshare", "--mount", "sh", "-c", script]

    def run(self, *command, user=(0, 0), folder="/", **more):
        typed = {"DEBIAN_FRONTEND": "noninteractive"} | more.pop("environment", {})
        done = subprocess.run(self.command(user, folder, command, typed, **more), capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def user(self, name):
        lines = (line.split(":") for line in (self.path / "etc/passwd").read_text().splitlines())
        return next(((int(uid), int(gid)) for found, _, uid, gid, *_ in lines if found == name), None)

    def files(self):
        """Every path in it, without what dpkg, apt, adduser and the logs keep for themselves."""
        found = {str(path.relative_to(self.path)) for path in self.path.rglob("*")}
        own = ("proc/", "run/", "var/lib/dpkg/", "var/log/", "var/cache/")
        return {path for path in found if not path.startswith(own)}


@contextlib.contextmanager
def debian():
    """A copy of the fresh root, for one row."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["cp", "-a", f"{pristine()}/.", folder], check=True)
        os.chmod(folder, 0o755)
        yield Root(folder)


class Running:
    """A server in a root, until the context ends."""

    def __init__(self, root, command, **more):
        self.output = tempfile.NamedTemporaryFile("w+")
        self.process = subprocess.Popen(root.command(command=command, **more), stdout=self.output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            status = self.process.wait(timeout=PATIENCE)
            assert status == 0, f"{status}: {self.log()}"
        self.output.close()

    def log(self):
        return pathlib.Path(self.output.name).read_text()

    def find(self, look):
        """Waits until `look` finds something in the output."""
        deadline = time.monotonic() + PATIENCE
        while not (found := look(self.log())):
            assert self.process.poll() is None and time.monotonic() < deadline, self.log()
            time.sleep(0.05)
        return found

    def address(self):
        """Where it listens, from its log in JSON."""
        def serving(log):
            for line in log.splitlines(keepends=True):
                if line.startswith("{") and line.endswith("\n") and (event := json.loads(line))["message"] == "serving":
                    return event["listen"]
            return None

        return self.find(serving)


def token(address, client, secret, **form):
    """The answer of the token endpoint, which must be a token."""
    basic = base64.b64encode(f"{client}:{secret}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    connection.request("POST", "/oauth/token", urllib.parse.urlencode({"grant_type": "client_credentials", **form}), headers)
    answer = connection.getresponse()
    body = answer.read().decode()
    assert answer.status == 200, f"{answer.status} {body}"
    issued = json.loads(body)
    assert issued["access_token"].count(".") == 2, issued
    return issued
