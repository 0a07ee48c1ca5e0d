"""Backups and restores, done as the documentation says."""

# needs: sqlite3=sqlite3

import contextlib
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import tempfile
import termios
import time
import urllib.parse

from world import ALLOW, PASSWORD, Postgres, Server, load, until


def command(program, folder, *arguments, **more):
    return subprocess.run([program, "--log-format=json", *arguments], cwd=folder, text=True, capture_output=True, **more)


def refused(program, folder, database, *words):
    """Requires that a start is refused with one message that contains these words."""
    done = command(program, folder, "serve", "--listen=127.0.0.1:0", "--management-listen=off", "--database-url", database, timeout=30)
    assert done.returncode == 1, done
    for word in words:
        assert word in done.stderr, (word, done.stderr)


def refresh(server, token):
    status, _, text, _ = server.token(grant_type="refresh_token", refresh_token=token)
    return status, json.loads(text)


def restored(program, folder, database):
    done = command(program, folder, "restored", "--json", "--database-url", database)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextlib.contextmanager
def sqlite(program, **settings):
    server = Server(program, **settings)
    try:
        yield server
    finally:
        server.remove()


def again(server, **settings):
    """A new process on the same folder and database."""
    other = Server(server.program, server.database, server.folder, furnish=False, **settings)
    other.secrets = server.secrets
    return other


def replace(server, copy):
    for end in ["", "-wal", "-shm"]:
        with contextlib.suppress(FileNotFoundError):
            os.remove(f"{server.folder}/sealwright.db{end}")
    shutil.copy(copy, f"{server.folder}/sealwright.db")
    os.chmod(f"{server.folder}/sealwright.db", 0o600)


def op8_a_backup_under_load_is_complete_and_is_served_after_restored(program):
    """`sealwright backup` of a server under sign-ins; the copy is restored, and used refresh tokens stay invalid."""
    with sqlite(program) as server:
        first = json.loads(server.sign_in()[2])["refresh_token"]
        with load(server.sign_in, 2) as (results, errors):
            until(lambda: len(results) > 10, 30, "logins")
            began = time.monotonic()
            server.run("backup", "copy.db")
            took = time.monotonic() - began
            until(lambda: len(results) > 30, 30, "logins after the backup")
        assert not errors and all(result[0] == 200 for result in results), errors
        check = subprocess.run(["sqlite3", f"{server.folder}/copy.db", "PRAGMA integrity_check"], capture_output=True, text=True)
        assert check.stdout == "ok\n", check
        second = refresh(server, first)[1]["refresh_token"]
        server.run("client", "drop-secret", "cold", server.secrets["cold"][3:19], "--last", "--yes")
        time.sleep(1.5)
        server.stop()
        replace(server, f"{server.folder}/copy.db")
        refused(program, server.folder, server.database, "sealwright restored")
        report = restored(program, server.folder, server.database)
        assert [lost["action"] for lost in report["changes_lost"]] == ["client.drop_secret"], report
        later = again(server)
        try:
            for token in (first, second):
                assert refresh(later, token)[0] == 400
            assert later.sign_in()[0] == 200
        finally:
            later.remove()
        return f"{len(results)} logins beside it, backup in {took * 1000:.0f} ms, {report['logins_ended']} logins ended"


def op8_a_copy_by_sqlite3_beside_the_log_of_the_former_file_is_refused(program):
    """`.backup` of sqlite3, put back by cp over the file of a killed server: SQLite would replay the old log into it."""
    with sqlite(program) as server:
        subprocess.run(["sqlite3", f"{server.folder}/sealwright.db", f".backup {server.folder}/copy.db"], check=True)
        os.chmod(f"{server.folder}/copy.db", 0o600)
        # Enough for a checkpoint, so that the log differs from the one at the time of the copy.
        for number in range(60):
            server.run("user", "create", f"user-{number}", "--password-stdin", typed=PASSWORD + "\n")
        time.sleep(1.5)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        log = f"{server.folder}/sealwright.db-wal"
        before = open(log, "rb").read()
        assert before
        # SQLite takes the log for that of this file.
        trial = tempfile.mkdtemp()
        shutil.copy(f"{server.folder}/copy.db", f"{trial}/db")
        shutil.copy(log, f"{trial}/db-wal")
        seen = subprocess.run(["sqlite3", f"{trial}/db", "SELECT count(*) FROM users; PRAGMA quick_check"], capture_output=True, text=True)
        shutil.copy(f"{server.folder}/copy.db", f"{server.folder}/sealwright.db")
        refused(program, server.folder, server.database, "seems to have replaced another database file", "-wal")
        assert open(log, "rb").read() == before
        os.remove(log)
        refused(program, server.folder, server.database, "older than this node last saw it")
        restored(program, server.folder, server.database)
        later = again(server)
        later.remove()
        return f"SQLite alone would have shown {' '.join((seen.stdout + seen.stderr).split())[:60]!r}"


def op8_a_copied_file_of_a_running_server_is_refused(program):
    """The .db alone, copied while the server runs: it has no tables yet, or old ones."""
    with sqlite(program) as server:
        young = f"{server.folder}/young.db"
        shutil.copy(f"{server.folder}/sealwright.db", young)
        server.stop()
        # Everything up to here is in the file; later changes are in the log.
        later = again(server)
        old = f"{server.folder}/old.db"
        shutil.copy(f"{server.folder}/sealwright.db", old)
        later.run("user", "disable", "alice")
        time.sleep(1.5)
        later.process.send_signal(signal.SIGKILL)
        later.process.wait()
        replace(server, young)
        refused(program, server.folder, server.database, "contains no issuer", "sealwright backup FILE")
        replace(server, old)
        refused(program, server.folder, server.database, "older than this node last saw it")
        report = restored(program, server.folder, server.database)
        assert [lost["action"] for lost in report["changes_lost"]] == ["user.disable"], report
        return "both refused"


def op8_a_killed_server_starts_again_with_its_own_log(program):
    """Twenty kills during writes: the log that is left is never taken for that of another file."""
    with sqlite(program) as server:
        current = server
        for _ in range(20):
            with load(lambda: current.sign_in(timeout=2), 2) as (results, _):
                until(lambda: len(results) > 8, 30, "logins")
                current.process.send_signal(signal.SIGKILL)
                current.process.wait()
            current = again(server)
        current.remove()
        return "20 starts"


def hd12_a_dump_that_is_restored_is_refused_until_restored_has_run(program):
    """PostgreSQL: pg_dump, changes, pg_restore under a stopped and under a running server."""
    postgres = Postgres()
    try:
        server = Server(program, postgres.url)
        dump = f"{server.folder}/dump"
        tool = lambda name, *arguments: subprocess.run([f"{postgres.bin}/{name}", *arguments, postgres.url], check=True, capture_output=True)
        first = json.loads(server.sign_in()[2])["refresh_token"]
        tool("pg_dump", "--format=custom", f"--file={dump}")
        second = refresh(server, first)[1]["refresh_token"]
        server.run("user", "disable", "alice")
        time.sleep(1.5)
        server.stop()
        restore = [f"{postgres.bin}/pg_restore", "--clean", "--if-exists", f"--dbname={postgres.url}", dump]
        subprocess.run(restore, check=True)
        refused(program, server.folder, postgres.url, "older than this node last saw it")
        report = restored(program, server.folder, postgres.url)
        assert (report["logins_ended"], [lost["action"] for lost in report["changes_lost"]]) == (1, ["user.disable"]), report
        later = again(server)
        try:
            for token in (first, second):
                assert refresh(later, token)[0] == 400
            third = json.loads(later.sign_in()[2])["refresh_token"]
            # Under the running server.
            subprocess.run(restore, check=True)
            took = until(lambda: later.token(timeout=5)[0] == 503, 20, "stops issuing")
            # At once, if the client's positions are gone; and not ready when what it has in memory is too old.
            until(lambda: later.get("/health/ready")[0] == 503, 20, "not ready")
            assert later.token(timeout=5)[0] == 503
            restored(program, server.folder, postgres.url)
            until(lambda: later.token(timeout=5)[0] == 200, 20, "issues again")
            for token in (first, second, third):
                assert refresh(later, token)[0] == 400
            fourth = json.loads(later.sign_in()[2])["refresh_token"]
            assert refresh(later, fourth)[0] == 200
        finally:
            later.remove()
            server.remove()
        return f"a running server stopped issuing after {took:.1f} s"
    finally:
        postgres.remove()


def hd12_a_folder_that_cannot_be_written_is_reported_once(program):
    """The folder of keys on a read-only disk: the server runs, and reports once that it cannot keep its record."""
    with sqlite(program) as server:
        server.stop()
        keys = f"{server.folder}/keys"
        subprocess.run(["mount", "--bind", keys, keys], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,ro,bind", keys], check=True)
            later = again(server)
            later.run("user", "disable", "alice")
            later.run("user", "enable", "alice")
            time.sleep(1.5)
            later.stop()
            lines = [line for line in open(later.log.name) if "the record of the database's state cannot be written" in line]
            assert len(lines) == 1, lines
        finally:
            subprocess.run(["umount", "-l", keys], check=True)
        return "one line"


def hd9_a_password_is_asked_for_on_a_terminal_and_not_shown(program):
    """`user create` and `user set-password` on a pseudo terminal: it asks twice without echo, and refuses two different passwords."""
    with sqlite(program) as server:
        def type_in(arguments, *answers):
            child, terminal = pty.fork()
            if child == 0:
                os.chdir(server.folder)
                os.execv(program, [program, "--database-url", server.database, *arguments])
            shown, waiting = b"", list(answers)
            prompts = [b"Password: ", b"Repeat the password: "]
            while True:
                ready, _, _ = select.select([terminal], [], [], 20)
                assert ready, shown
                try:
                    part = os.read(terminal, 4096)
                except OSError:
                    break
                if not part:
                    break
                shown += part
                if waiting and prompts and prompts[0] in shown:
                    prompts.pop(0)
                    # The prompt must be shown first: unlike a person, this program might type before it.
                    until(lambda: not termios.tcgetattr(terminal)[3] & termios.ECHO, 5, "the terminal shows no more what is typed")
                    os.write(terminal, waiting.pop(0).encode() + b"\n")
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown.decode()

        code, shown = type_in(["user", "create", "bob", *ALLOW], PASSWORD, PASSWORD)
        assert code == 0 and "bob" in shown and PASSWORD not in shown, shown
        form = {"grant_type": "password", "username": "bob", "password": PASSWORD}
        assert server.token(**form)[0] == 200, urllib.parse.urlencode(form)
        code, shown = type_in(["user", "set-password", "bob"], "another one entirely", "another one entirelx")
        assert code == 1 and "differ" in shown and "another" not in shown, shown
        assert server.token(**form)[0] == 200
        code, shown = type_in(["user", "set-password", "bob"], "another one entirely", "another one entirely")
        assert code == 0, shown
        assert server.token(**form)[0] == 400
        return "hidden"
