"""A server, a database, and callers that measure."""

import base64
import contextlib
import glob
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse

PASSWORD = "plum trousers at the gate"
ALLOW = ["--allow", "https://orders.example=orders:read"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Postgres:
    """A separate cluster, run by an unprivileged user."""

    def __init__(self, durable=False, **settings):
        # Without it, a commit does not wait for the disk.
        self.settings = {"fsync": "on" if durable else "off", "max_connections": 200, **settings}
        self.bin = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
        self.folder = tempfile.mkdtemp()
        shutil.chown(self.folder, "postgres")
        self.port = 20000 + os.getpid() % 20000
        self._as("initdb", "-D", f"{self.folder}/data", "-U", "postgres", "-A", "trust", "--no-sync")
        self.start()
        self.url = f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    def _as(self, program, *arguments):
        command = ["runuser", "-u", "postgres", "--", f"{self.bin}/{program}", *arguments]
        subprocess.run(command, cwd="/", check=True, stdout=subprocess.DEVNULL)

    def start(self):
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", **self.settings}
        options = " ".join([f"-p {self.port}", *(f"-c {name}={value}" for name, value in settings.items())])
        self._as("pg_ctl", "-D", f"{self.folder}/data", "-l", f"{self.folder}/log", "-w", "-s", "-o", options, "start")

    def stop(self):
        self._as("pg_ctl", "-D", f"{self.folder}/data", "-m", "immediate", "-s", "stop")

    def leader(self):
        return int(open(f"{self.folder}/data/postmaster.pid").readline())

    def processes(self):
        leader = self.leader()
        children = subprocess.run(["pgrep", "-P", str(leader)], capture_output=True, text=True).stdout.split()
        return [leader, *map(int, children)]

    def signal(self, number):
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def sql(self, text):
        return subprocess.run(["psql", "-qAt", self.url, "-c", text], check=True, capture_output=True, text=True).stdout

    @contextlib.contextmanager
    def locked(self, table):
        """Locks this table against all other readers and writers."""
        holder = subprocess.Popen(["psql", "-qAt", self.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        holder.stdin.write(f"BEGIN; LOCK TABLE {table}; SELECT 'held';\n")
        holder.stdin.flush()
        assert holder.stdout.readline().strip() == "held"
        try:
            yield
        finally:
            holder.stdin.close()
            holder.wait()

    def remove(self):
        with contextlib.suppress(subprocess.CalledProcessError):
            self.signal(signal.SIGCONT)
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Server:
    """The real binary, with one resource, the app `shop` and the user `alice`."""

    def __init__(self, program, database=None, folder=None, furnish=True, stderr=None, limits=None, **settings):
        self.program = program
        self.own_folder = folder is None
        self.folder = folder or tempfile.mkdtemp()
        self.database = database or f"sqlite://{self.folder}/sealwright.db"
        self.log = stderr or open(f"{tempfile.mkdtemp()}/log", "w+")
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
        listen = [] if "listen" in settings else ["--listen=127.0.0.1:0"]
        prefix = limits or []
        command = [*prefix, program, "serve", *listen, "--management-listen=127.0.0.1:0", "--log-format=json",
                   "--keys-dir", f"{self.folder}/keys", *flags]
        # A URL with a password is not accepted as a flag.
        self.environment = os.environ | {"SEALWRIGHT_DATABASE_URL": self.database}
        self.process = subprocess.Popen(command, cwd=self.folder, stderr=self.log, env=self.environment)
        event = self._event("serving")
        host, port = event["listen"].rsplit(":", 1)
        self.address = (host, int(port))
        self.metrics_url = event["metrics"]
        if furnish:
            self.furnish()

    def _event(self, message):
        for _ in range(600):
            for line in open(self.log.name):
                with contextlib.suppress(json.JSONDecodeError):
                    event = json.loads(line)
                    if event["message"] == message:
                        return event
            assert self.process.poll() is None, open(self.log.name).read()
            time.sleep(0.05)
        raise AssertionError(f"no event {message}")

    def run(self, *command, typed=None):
        done = subprocess.run(
            [self.program, "--keys-dir", f"{self.folder}/keys", *command],
            cwd=self.folder, env=self.environment, input=typed, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def furnish(self):
        self.run("resource", "create", "https://orders.example", "--scope", "orders:read")
        self.secrets = {}
        for client in ["shop", "cold"]:
            grants = [word for grant in ["client_credentials", "password", "refresh_token"] for word in ("--grant", grant)]
            created = json.loads(self.run("client", "create", client, *grants, *ALLOW, "--json"))
            self.secrets[client] = created["secret"]["value"]
        self.run("user", "create", "alice", "--password-stdin", *ALLOW, typed=PASSWORD + "\n")

    def ask(self, method, path, body=None, headers=None, timeout=40, address=None):
        """Status, headers, body, and duration."""
        began = time.monotonic()
        connection = http.client.HTTPConnection(*(address or self.address), timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            text = answer.read().decode()
            return answer.status, answer.headers, text, time.monotonic() - began
        finally:
            connection.close()

    def token(self, client="shop", timeout=40, **form):
        form = {"grant_type": "client_credentials", **form}
        basic = base64.b64encode(f"{client}:{self.secrets[client]}".encode()).decode()
        headers = {"authorization": f"Basic {basic}", "content-type": "application/x-www-form-urlencoded"}
        return self.ask("POST", "/oauth/token", urllib.parse.urlencode(form), headers, timeout)

    def sign_in(self, **more):
        return self.token(grant_type="password", username="alice", password=PASSWORD, **more)

    def get(self, path, timeout=40):
        return self.ask("GET", path, timeout=timeout)

    def metric(self, name):
        host, port = self.metrics_url.split("/")[2].rsplit(":", 1)
        text = self.ask("GET", "/metrics", address=(host, int(port)))[2]
        return float(next(line.rsplit(" ", 1)[1] for line in text.splitlines() if line.startswith(name + " ")))

    def memory_mib(self):
        return self.metric("process_resident_memory_bytes") / 2**20

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(timeout=60) == 0

    def remove(self):
        self.process.kill()
        self.process.wait()
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)


def percentile(values, part):
    return sorted(values)[int(len(values) * part)] if values else float("nan")


def ms(seconds):
    return f"{seconds * 1000:.0f} ms"


def until(happened, seconds, what):
    """Waits for a condition; returns how long that took."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if happened():
            return time.monotonic() - began
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds} s")


@contextlib.contextmanager
def load(work, threads):
    """Runs `work` repeatedly on some threads; returns its results."""
    done, results, errors = threading.Event(), [], []

    def worker():
        while not done.is_set():
            try:
                results.append(work())
            except Exception as error:
                errors.append(error)

    workers = [threading.Thread(target=worker) for _ in range(threads)]
    for thread in workers:
        thread.start()
    try:
        yield results, errors
    finally:
        done.set()
        for thread in workers:
            thread.join()


@contextlib.contextmanager
def served_by_postgres(program, **settings):
    """A server with a cached client, and the PostgreSQL under it."""
    postgres = Postgres()
    try:
        server = Server(program, postgres.url, **settings)
        try:
            server.token()
            yield server, postgres
        finally:
            server.remove()
    finally:
        postgres.remove()


def fill(folder):
    """Fills the disk of `folder`; returns the file that fills it."""
    filler = open(f"{folder}/filler", "wb", buffering=0)
    try:
        while True:
            filler.write(b"x" * 4096)
    except OSError:
        filler.close()
    return filler.name


@contextlib.contextmanager
def small_disk(megabytes):
    folder = tempfile.mkdtemp()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        os.rmdir(folder)


class Disk:
    """A disk of 32 MB that turns read-only while it is in use."""

    def __enter__(self):
        self.folder = tempfile.mkdtemp()
        self.image = f"{self.folder}.img"
        with open(self.image, "wb") as image:
            image.truncate(32 * 2**20)
        subprocess.run(["mkfs.ext4", "-q", self.image], check=True)
        made = subprocess.run(["losetup", "--find", "--show", self.image], check=True, capture_output=True, text=True)
        self.device = made.stdout.strip()
        self._mount()
        return self

    def _mount(self):
        subprocess.run(["mount", "-o", "errors=remount-ro", self.device, self.folder], check=True)

    def turn_read_only(self):
        # ext4 does the same when its disk fails, also while files are open for writing.
        subprocess.run(["mount", "-o", "remount,abort", self.folder], check=True)

    def turn_writable(self):
        subprocess.run(["umount", self.folder], check=True)
        subprocess.run(["fsck.ext4", "-p", self.device], stdout=subprocess.DEVNULL)
        self._mount()

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", self.folder])
        subprocess.run(["losetup", "-d", self.device], check=True)
        os.rmdir(self.folder)
        os.remove(self.image)
