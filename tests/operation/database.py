"""Poolers, standbys, failover and full disks between the server and its database."""

# needs: pgbouncer=pgbouncer haproxy=haproxy

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time

from world import Postgres, Server, fill, small_disk, until

BASE = 21000 + os.getpid() % 9000
ports = iter(range(BASE, BASE + 500))


class Cluster(Postgres):
    """A cluster on a separate port, and its standbys."""

    def __init__(self, primary=None):
        if primary is None:
            super().__init__()
            self._settle()
            return
        self.bin, self.settings = primary.bin, primary.settings
        self.folder = tempfile.mkdtemp()
        shutil.chown(self.folder, "postgres")
        self._as("pg_basebackup", "-D", f"{self.folder}/data", "-h", "127.0.0.1", "-p", str(primary.port), "-U", "postgres", "-R", "-c", "fast")
        self._settle()

    def _settle(self):
        if os.path.exists(f"{self.folder}/data/postmaster.pid"):
            self.stop()
        self.port = next(ports)
        self.start()
        self.url = f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    def remove(self):
        with contextlib.suppress(FileNotFoundError):
            super().remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    def promote(self):
        self._as("pg_ctl", "-D", f"{self.folder}/data", "-w", "-s", "promote")

    def read_only(self, on):
        """Makes every session read-only from its next statement on, as a failover does to the former primary."""
        value = "on" if on else "off"
        options = dict(os.environ, PGOPTIONS="-c default_transaction_read_only=off")
        for sql in [f"ALTER SYSTEM SET default_transaction_read_only = {value}", "SELECT pg_reload_conf()"]:
            subprocess.run(["psql", "-qAt", self.url, "-c", sql], check=True, capture_output=True, env=options)


@contextlib.contextmanager
def clusters(standby=False):
    made = [Cluster()]
    try:
        if standby:
            made.append(Cluster(primary=made[0]))
        yield made if standby else made[0]
    finally:
        for cluster in made:
            cluster.remove()


@contextlib.contextmanager
def pgbouncer(postgres, mode, **more):
    """As Debian installs it, except for the mode and the location of the database."""
    folder = tempfile.mkdtemp()
    port = next(ports)
    settings = {"listen_addr": "127.0.0.1", "listen_port": port, "auth_type": "any", "pool_mode": mode, "unix_socket_dir": "",
                "logfile": f"{folder}/log", "pidfile": f"{folder}/pid", **more}
    with open(f"{folder}/ini", "w") as ini:
        ini.write(f"[databases]\npostgres = host=127.0.0.1 port={postgres.port} user=postgres\n[pgbouncer]\n")
        ini.writelines(f"{name} = {value}\n" for name, value in settings.items())
    os.chmod(folder, 0o777)
    program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    process = subprocess.Popen(["runuser", "-u", "postgres", "--", program, f"{folder}/ini"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"postgres://postgres@127.0.0.1:{port}/postgres"
        until(lambda: subprocess.run(["psql", "-qAt", url, "-c", "SELECT 1"], capture_output=True).returncode == 0, 10, "pgbouncer")
        yield url
    finally:
        # The program that was started is runuser; pgbouncer ends with the signal that it passes on.
        process.terminate()
        process.wait(timeout=10)
        shutil.rmtree(folder, ignore_errors=True)


def start_refused(program, url, seconds=5, command=("serve", "--listen=127.0.0.1:0")):
    folder = tempfile.mkdtemp()
    environment = os.environ | {"SEALWRIGHT_DATABASE_URL": url, "SEALWRIGHT_MANAGEMENT_LISTEN": "off"}
    began = time.monotonic()
    done = subprocess.run([program, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    took = time.monotonic() - began
    shutil.rmtree(folder)
    assert done.returncode == 1 and took < seconds, (done.returncode, took, done.stderr)
    return next(line for line in done.stderr.splitlines() if line.startswith("sealwright: ")), took


def at_once(count, work):
    results = [None] * count

    def run(number):
        results[number] = work()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def exercise(server, rounds):
    """Sign-ins, refreshes six at a time, cold and cached clients; returns the number of answers."""
    count = 0
    for _ in range(rounds):
        status, _, body, _ = server.sign_in()
        assert status == 200, (status, body)
        token = json.loads(body)["refresh_token"]
        for _ in range(3):
            answers = at_once(6, lambda: server.token(grant_type="refresh_token", refresh_token=token))
            assert all(answer[0] == 200 for answer in answers), [(answer[0], answer[2]) for answer in answers]
            token = json.loads(answers[0][2])["refresh_token"]
            count += 6
        # A change empties the cache, so that clients are read again.
        server.run("client", "update", "cold", "--token-lifetime", "5m")
        for client in ["shop", "cold"]:
            assert server.token(client)[0] == 200
            count += 1
    return count


def op2_a_standby_as_database_is_reported_within_five_seconds(program):
    """A hot standby, with or without an issuer: one error message in time, and no advisory lock on either side."""
    with clusters(standby=True) as (primary, standby):
        sentence, took = start_refused(program, standby.url)
        assert "read-only standby" in sentence, sentence
        server = Server(program, primary.url, furnish=False)
        server.remove()
        time.sleep(1)
        again, _ = start_refused(program, standby.url)
        listed, _ = start_refused(program, standby.url, command=("client", "list"))
        assert "read-only standby" in again and "read-only standby" in listed, (again, listed)
        for cluster in [primary, standby]:
            assert cluster.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").strip() == "0"
        return f"refused after {took:.1f} s"


def op2_a_role_without_create_is_reported_within_five_seconds(program):
    """`permission denied for schema public`, in time, and no advisory lock left."""
    with clusters() as postgres:
        postgres.sql("CREATE ROLE sw LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        sentence, took = start_refused(program, postgres.url.replace("postgres@", "sw@"))
        assert "permission denied for schema public" in sentence, sentence
        assert postgres.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").strip() == "0"
        return f"refused after {took:.1f} s"


def op2_a_full_disk_is_reported_by_the_first_start_and_by_readiness(program):
    """A first start on a full disk reports it. When the disk fills under a running server: not ready within 5 s, one log line each way, and ready again by itself."""
    with small_disk(8) as folder:
        fill(folder)
        sentence, _ = start_refused(program, f"sqlite://{folder}/sealwright.db")
        assert "full" in sentence, sentence
    with small_disk(16) as folder:
        server = Server(program, f"sqlite://{folder}/sealwright.db")
        try:
            assert server.get("/health/ready")[0] == 200
            # A client's first token needs a write: for its positions in a status list.
            assert server.token()[0] == 200
            filler = fill(folder)
            until(lambda: server.sign_in()[0] != 200, 30, "a write fails")
            noticed = until(lambda: server.get("/health/ready")[0] == 503, 5, "not ready")
            assert "disk is full" in server.get("/health/ready")[2]
            for _ in range(20):
                server.sign_in()
                assert server.get("/health/ready")[0] == 503
                time.sleep(0.2)
            assert server.token()[0] == 200, "a cached client is served"
            os.remove(filler)
            healed = until(lambda: server.get("/health/ready")[0] == 200, 10, "ready again")
            assert server.sign_in()[0] == 200
            log = open(server.log.name).read()
            lines = [log.count("writes to the database fail;"), log.count("writes to the database succeed again")]
            assert lines == [1, 1], lines
            return f"not ready after {noticed:.1f} s, ready {healed:.1f} s after there was room"
        finally:
            server.remove()


def op5_pgbouncer_as_installed_works_in_session_mode(program):
    """Session mode with default settings of pgbouncer: the server starts, and 100 requests are answered."""
    with clusters() as postgres, pgbouncer(postgres, "session") as url:
        server = Server(program, url)
        try:
            return f"{exercise(server, 5)} requests"
        finally:
            server.remove()


def op5_pgbouncer_as_installed_works_in_transaction_mode(program):
    """Transaction mode with two server connections for two nodes and their commands: no error in 200 requests."""
    with clusters() as postgres, pgbouncer(postgres, "transaction", default_pool_size=2) as url:
        nodes = [Server(program, url)]
        try:
            nodes.append(Server(program, url, folder=nodes[0].folder, furnish=False))
            nodes[1].secrets = nodes[0].secrets
            counts = at_once(2, lambda: sum(exercise(node, 2) for node in nodes))
            assert None not in counts, "an answer was wrong"
            # A restart finds the migrations that ran through the pooler.
            Server(program, url, folder=nodes[0].folder, furnish=False).remove()
            prepared = postgres.sql("SELECT count(*) FROM pg_prepared_statements").strip()
            return f"{sum(counts)} requests, {prepared} prepared statements"
        finally:
            for node in nodes:
                node.remove()


def op5_a_pooler_in_statement_mode_is_refused_within_five_seconds(program):
    """Statement mode allows no transactions: the start fails in time with that reason."""
    with clusters() as postgres, pgbouncer(postgres, "statement") as url:
        sentence, took = start_refused(program, url)
        assert "statement pooling" in sentence, sentence
        return f"after {took:.1f} s: {sentence}"


@contextlib.contextmanager
def haproxy(first, second):
    """A TCP proxy with one host behind it; `switch` replaces the host and keeps open connections."""
    folder = tempfile.mkdtemp()
    port = next(ports)
    with open(f"{folder}/cfg", "w") as file:
        file.write(f"""
global
    stats socket {folder}/socket mode 600 level admin
defaults
    mode tcp
    timeout connect 2s
    timeout client 1h
    timeout server 1h
listen database
    bind 127.0.0.1:{port}
    server first 127.0.0.1:{first.port}
    server second 127.0.0.1:{second.port} disabled
""")
    program = shutil.which("haproxy") or "/usr/sbin/haproxy"
    process = subprocess.Popen([program, "-f", f"{folder}/cfg"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def switch():
        for command in ["enable server database/second", "disable server database/first"]:
            with socket.socket(socket.AF_UNIX) as control:
                control.connect(f"{folder}/socket")
                control.sendall(f"{command}\n".encode())
                control.recv(4096)

    try:
        url = f"postgres://postgres@127.0.0.1:{port}/postgres"
        until(lambda: subprocess.run(["psql", "-qAt", url, "-c", "SELECT 1"], capture_output=True).returncode == 0, 10, "haproxy")
        yield url, switch
    finally:
        process.terminate()
        process.wait(timeout=10)
        shutil.rmtree(folder, ignore_errors=True)


def fail_over(server, primary, standby, switch):
    """The primary becomes read-only and the standby is promoted; returns how long readiness and writes took."""
    assert server.sign_in()[0] == 200
    primary.read_only(True)
    noticed = until(lambda: server.get("/health/ready")[0] == 503, 5, "not ready")
    reason = server.get("/health/ready")[2]
    assert "read-only" in reason, reason
    standby.promote()
    switch()
    began = time.monotonic()
    until(lambda: server.sign_in()[0] == 200, 5, "writes again")
    wrote = time.monotonic() - began
    ready = until(lambda: server.get("/health/ready")[0] == 200, 5, "ready again")
    for _ in range(30):
        assert server.sign_in()[0] == 200
    left = primary.sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()").strip()
    return f"not ready after {noticed:.1f} s; after the switch writes {wrote:.1f} s, ready {wrote + ready:.1f} s; {left} connections left"


def op6_connections_to_a_primary_that_becomes_read_only_behind_a_proxy_are_replaced(program):
    """Failover behind a TCP proxy that keeps open connections: they are replaced within 5 s, and readiness reports it until then."""
    with clusters(standby=True) as (primary, standby), haproxy(primary, standby) as (url, switch):
        server = Server(program, url)
        try:
            return fail_over(server, primary, standby, switch)
        finally:
            server.remove()


def op6_a_url_with_several_hosts_finds_the_primary(program):
    """Both hosts in the URL, the standby first: the primary is used, and after a failover the other, within 5 s."""
    with clusters(standby=True) as (primary, standby):
        hosts = f"127.0.0.1:{standby.port},127.0.0.1:{primary.port}"
        server = Server(program, f"postgres://postgres@{hosts}/postgres?target_session_attrs=read-write")
        try:
            first = fail_over(server, primary, standby, lambda: None)
            # The old primary stays down, which delays nothing.
            primary.stop()
            assert server.sign_in()[0] == 200
            return first
        finally:
            server.remove()


def op11_refreshes_at_once_under_serializable_are_all_answered(program):
    """Six equal refreshes at once, 36 times, with serializable as the default isolation: none gets 503."""
    with clusters() as postgres:
        postgres.sql("ALTER SYSTEM SET default_transaction_isolation = 'serializable'; ")
        postgres.sql("SELECT pg_reload_conf()")
        server = Server(program, postgres.url)
        try:
            return f"{exercise(server, 12)} answers, each 200"
        finally:
            server.remove()
