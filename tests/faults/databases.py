"""Databases and disks that fail."""

import json
import os
import signal
import sqlite3
import subprocess
import time

from world import Disk, Postgres, Server, fill, load, ms, served_by_postgres, small_disk, until


def database_gone(program):
    """PostgreSQL ends, freezes, is cut off silently, and refuses: cached clients are served for 10 s, and keys without a limit."""
    port_rule = None

    def iptables(change, *target):
        chain = ["iptables", change, "INPUT", "-i", "lo", "-p", "tcp", "--dport", str(postgres.port), "-j", *target]
        subprocess.run(chain, check=True)

    ways = {
        "ended": (lambda: postgres.stop(), lambda: postgres.start()),
        "frozen": (lambda: postgres.signal(signal.SIGSTOP), lambda: postgres.signal(signal.SIGCONT)),
        "cut off": (lambda: iptables("-I", "DROP"), lambda: iptables("-D", "DROP")),
        "refusing": (
            lambda: iptables("-I", "REJECT", "--reject-with", "tcp-reset"),
            lambda: iptables("-D", "REJECT", "--reject-with", "tcp-reset"),
        ),
    }
    postgres = Postgres()
    server = Server(program, postgres.url)
    results = []
    try:
        # By then the server has noticed the last command, and keeps in memory what it reads.
        time.sleep(1.2)
        for way, (begin, end) in ways.items():
            assert server.token()[0] == 200
            first = json.loads(server.sign_in()[2])["refresh_token"]
            begin()
            began, served_for, slowest = time.monotonic(), 0.0, 0.0
            try:
                while (elapsed := time.monotonic() - began) < 20:
                    status, headers, _, took = server.token()
                    slowest = max(slowest, took)
                    assert status == 200 or (status == 503 and headers["retry-after"]), (way, status)
                    if status == 200:
                        served_for = elapsed
                    for path in ["/.well-known/jwks.json", "/.well-known/oauth-authorization-server", "/health/live"]:
                        status, _, _, took = server.get(path)
                        assert status == 200 and took < 1, (way, path, status, took)
                    time.sleep(0.3)
                assert 9 < served_for < 12.5, (way, served_for)
                assert slowest < 1, (way, slowest)
                assert server.get("/health/ready")[0] == 503
                status, headers, _, took = server.token(grant_type="refresh_token", refresh_token=first)
                assert status == 503 and headers["retry-after"] and took < 10, (way, status, took)
            finally:
                end()
            healed = until(lambda: server.token()[0] == 200, 5, f"{way}: tokens again")
            assert server.get("/health/ready")[0] == 200
            assert server.token(grant_type="refresh_token", refresh_token=first)[0] == 200, "the login is as good as before"
            results.append(f"{way}: cached clients served {served_for:.1f} s, slowest answer {ms(slowest)}, healed after {healed:.1f} s")
        assert server.token("cold")[0] == 200, "no failure was counted against anybody"
    finally:
        server.remove()
        postgres.remove()
    return "; ".join(results)


def slow_database(program):
    """A table is locked for 12 s while clients that are not cached send requests: each gets an answer in time; memory use stays constant."""
    with served_by_postgres(program) as (server, postgres):
        before = server.memory_mib()
        with postgres.locked("clients"), load(lambda: server.token("cold"), 64) as (answers, errors):
            time.sleep(12)
            jwks = server.get("/.well-known/jwks.json")
        assert not errors, errors[:3]
        assert {status for status, *_ in answers} <= {200, 503} and jwks[0] == 200 and jwks[3] < 1
        longest = max(took for *_, took in answers)
        assert longest < 10, longest
        grown = server.memory_mib() - before
        assert grown < 30, grown
        healed = until(lambda: server.token("cold")[0] == 200, 5, "tokens again")
    return f"{len(answers)} requests, each answered within {longest:.1f} s, {grown:+.1f} MiB, healed after {healed:.1f} s"


def op18_pool_exhaustion(program):
    """One connection to the database, and 150 callers who need it while it is held. The epochs are still read, and a cached client gets its
    token whether or not another client has just changed."""
    with served_by_postgres(program, database_connections=1) as (server, postgres):
        # By then the server has noticed the last command, and keeps in memory what it reads.
        time.sleep(1.2)
        assert server.token()[0] == 200
        looks, held_for = server.metric("sealwright_epoch_looks_total"), 6
        with (
            load(lambda: server.sign_in(), 100) as (answers, errors),
            load(lambda: server.token("cold"), 50) as (cold, others),
            load(lambda: server.token(), 2) as (cached, failures),
        ):
            time.sleep(1)
            for change in ["disable", "enable"]:
                # The epoch has just moved, and the one connection is about to be held.
                server.run("client", change, "cold")
                with postgres.locked("users, clients"):
                    time.sleep(held_for)
                    jwks = server.get("/.well-known/jwks.json")
        looks = server.metric("sealwright_epoch_looks_total") - looks
        assert not errors and not others and not failures, (errors + others + failures)[:3]
        statuses = {status for status, *_ in answers + cold}
        assert statuses <= {200, 401, 429, 503}, statuses
        assert jwks[0] == 200 and jwks[3] < 1, jwks
        assert cached and {status for status, *_ in cached} == {200}, {status for status, *_ in cached}
        assert looks >= 2 * held_for, looks
        longest = max(took for *_, took in answers + cold)
        assert longest < 10, longest
        healed = until(lambda: server.token("cold")[0] == 200, 12, "tokens again")
    return (f"{len(answers) + len(cold)} requests, each answered within {longest:.1f} s; {len(cached)} of the cached client, all with a token; "
            f"the epochs were read {looks:.0f} times; the JWKS in {ms(jwks[3])}; healed after {healed:.1f} s")


def disk_full(program):
    """SQLite's disk is full: requests that write get 503, all others succeed, and nothing is damaged."""
    with small_disk(12) as folder:
        server = Server(program, folder=folder)
        try:
            first = json.loads(server.sign_in()[2])["refresh_token"]
            # A client's first token needs a write: for its positions in a status list.
            assert server.token()[0] == 200
            filler = fill(folder)
            refused = []
            for _ in range(200):
                status, headers, *_ = server.sign_in()
                if status != 200:
                    refused.append((status, headers["retry-after"]))
                if len(refused) == 5:
                    break
            assert refused == [(503, "1")] * 5, refused
            assert server.token()[0] == 200 and server.get("/.well-known/jwks.json")[0] == 200
            os.remove(filler)
            healed = until(lambda: server.sign_in()[0] == 200, 5, "sign-ins again")
            assert server.token(grant_type="refresh_token", refresh_token=first)[0] == 200
            server.stop()
            (whole,) = sqlite3.connect(f"{folder}/sealwright.db").execute("PRAGMA integrity_check").fetchone()
            assert whole == "ok", whole
        finally:
            server.remove()
    return f"sign-ins 503, tokens and keys 200, healed after {healed:.1f} s, integrity ok"


def read_only_disk(program):
    """The disk of the database becomes read-only; a start on such a disk reports it; no answered request is lost."""
    with Disk() as disk:
        server = Server(program, folder=disk.folder)
        try:
            login = json.loads(server.sign_in()[2])
            assert server.token()[0] == 200
            disk.turn_read_only()
            statuses = {server.sign_in()[0] for _ in range(5)}
            statuses |= {server.token(grant_type="refresh_token", refresh_token=login["refresh_token"])[0]}
            assert statuses == {503}, statuses
            assert server.token()[0] == 200 and server.get("/.well-known/jwks.json")[0] == 200
            server.process.kill()
            server.process.wait()
            start = [program, "serve", "--listen=127.0.0.1:0", "--management-listen=off"]
            started = subprocess.run(start, cwd=disk.folder, capture_output=True, text=True, timeout=60)
            assert started.returncode == 1 and "sealwright.db" in started.stderr, started.stderr
            disk.turn_writable()
            again = Server(program, folder=disk.folder, furnish=False)
            again.secrets = server.secrets
            assert again.token(grant_type="refresh_token", refresh_token=login["refresh_token"])[0] == 200
            assert again.sign_in()[0] == 200
            again.stop()
        finally:
            server.remove()
    said = started.stderr.strip().splitlines()[-1].replace(disk.folder, "")
    return f"no write was answered 200; a start says: {said[:150]}"


def log_volume_full(program):
    """The disk of the log is full: tokens are issued, lost lines are counted, and logging resumes when there is space."""
    with small_disk(1) as folder:
        log = open(f"{folder}/log", "a+")
        server = Server(program, stderr=log)
        try:
            filler = fill(folder)
            answers = [server.token()[0] for _ in range(300)]
            lost = server.metric("sealwright_log_lines_dropped_total")
            assert set(answers) == {200} and lost > 0, (set(answers), lost)
            os.remove(filler)
            size = os.path.getsize(log.name)
            assert server.token()[0] == 200
            until(lambda: os.path.getsize(log.name) > size, 5, "lines again")
            server.stop()
        finally:
            server.remove()
            log.close()
    return f"300 tokens, {lost:.0f} lines lost and counted"
