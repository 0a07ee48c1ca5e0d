"""Hostile and many connections, and restarts under load."""

import asyncio
import http.client
import random
import resource
import socket
import threading
import time

from world import Postgres, Server, load, ms, percentile


def good_traffic(server, seconds=5):
    with load(server.token, 4) as (answers, errors):
        time.sleep(seconds)
    assert not errors and {status for status, *_ in answers} == {200}, errors[:3]
    return percentile([took for *_, took in answers], 0.99)


def slow_loris(program):
    """2,000 connections of one source that send a byte now and then: headers, a body, or nothing at all."""
    server = Server(program, connections_per_source=2048)
    kinds = [b"GET / HTTP/1.1\r\nx: ", b"POST /oauth/token HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\na", b""]
    try:
        before = good_traffic(server)
        ended, opened, done = [], [], threading.Event()

        async def one(kind):
            while not done.is_set():
                try:
                    reader, writer = await asyncio.open_connection(*server.address)
                    began = time.monotonic()
                    writer.write(kind)
                    opened.append(1)
                    while not done.is_set():
                        closed = asyncio.create_task(reader.read())
                        finished, _ = await asyncio.wait([closed], timeout=1)
                        if finished:
                            break
                        closed.cancel()
                        if kind:
                            writer.write(b"a")
                    if not done.is_set():
                        ended.append(time.monotonic() - began)
                    writer.close()
                except OSError:
                    await asyncio.sleep(0.2)

        async def all_of_them():
            await asyncio.gather(*(one(kinds[number % 3]) for number in range(2000)))

        attackers = threading.Thread(target=lambda: asyncio.run(all_of_them()))
        attackers.start()
        time.sleep(12)
        during = good_traffic(server, 8)
        done.set()
        attackers.join()
        longest = max(ended)
        assert len(opened) >= 2000 and longest < 16, (len(opened), longest)
        memory = server.memory_mib()
    finally:
        server.remove()
    # The attackers take a part of this machine. Good callers must not have to wait for them to end.
    assert during < 1, during
    return f"p99 of good traffic {ms(before)} before, {ms(during)} during; each ended within {longest:.0f} s; {memory:.0f} MiB"


def idle_connections(program):
    """10,000 connections that wait, over ten sources; then a server with 256 file descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft >= 11_000, f"missing: 11,000 file descriptors (ulimit -n is {soft})"
    server = Server(program, connections=12_000, connections_per_source=2048)
    try:
        before = server.memory_mib()
        held, began = [], time.monotonic()
        for number in range(10_000):
            one = socket.create_connection(server.address, source_address=(f"127.0.0.{2 + number % 10}", 0))
            one.sendall(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n")
            held.append(one)
        connected = time.monotonic() - began
        for one in held:
            assert one.recv(4096).startswith(b"HTTP/1.1 200")
        each = (server.memory_mib() - before) * 1024 / len(held)
        answered = server.token()
        assert answered[0] == 200 and answered[3] < 2, answered
        for one in held:
            one.close()
    finally:
        server.remove()
    few = Server(program, limits=["prlimit", "--nofile=256"])
    try:
        held = []
        for _ in range(400):
            one = socket.create_connection(few.address)
            held.append(one)
        time.sleep(1)
        used = open(f"/proc/{few.process.pid}/stat").read().split()[13:15]
        time.sleep(3)
        after = open(f"/proc/{few.process.pid}/stat").read().split()[13:15]
        ticks = sum(map(int, after)) - sum(map(int, used))
        assert ticks < 100, f"it spins: {ticks} ticks in 3 s"
        for one in held:
            one.close()
        for _ in range(100):
            try:
                if few.token(timeout=5)[0] == 200:
                    break
            except OSError:
                time.sleep(0.2)
        else:
            raise AssertionError("it does not serve again")
    finally:
        few.remove()
    return f"10,000 in {connected:.1f} s, {each:.1f} KiB each; out of descriptors it computes {ticks / 3:.0f} % of a core and serves again"


def huge_requests(program):
    """A gigabyte of body, a megabyte of header: refused early; memory use stays constant."""
    server = Server(program)
    try:
        server.token()
        before = server.memory_mib()
        connection = http.client.HTTPConnection(*server.address, timeout=30)
        connection.putrequest("POST", "/oauth/token")
        for name, value in [("content-type", "application/x-www-form-urlencoded"), ("transfer-encoding", "chunked")]:
            connection.putheader(name, value)
        connection.endheaders()
        sent, chunk = 0, b"10000\r\n" + b"a" * 65536 + b"\r\n"
        try:
            while sent < 2**30:
                connection.send(chunk)
                sent += 65536
        except OSError:
            pass
        body_status = "closed"
        try:
            body_status = connection.getresponse().status
        except OSError:
            pass
        assert body_status in (413, "closed") and sent < 64 * 2**20, (body_status, sent)
        raw = socket.create_connection(server.address)
        answer = b""
        try:
            raw.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 1_000_000 + b"\r\n\r\n")
            answer = raw.recv(100)
        except OSError:
            pass
        assert answer == b"" or b" 431 " in answer, answer
        grown = server.memory_mib() - before
        assert grown < 20, grown
        assert server.token()[0] == 200
    finally:
        server.remove()
    return f"the body was ended after {sent / 2**20:.0f} MiB with {body_status}, {grown:+.1f} MiB of memory"


def rolling_restarts(program):
    """Two nodes on one database, restarted in turn 20 times under load; callers may retry the connection, and nothing else."""
    postgres = Postgres()
    first = Server(program, postgres.url)
    nodes = [first, None]

    def start():
        node = Server(program, postgres.url, folder=first.folder, furnish=False)
        node.secrets = first.secrets
        return node

    nodes[1] = start()
    kept = threading.local()

    def ask():
        while True:
            if getattr(kept, "connection", None) is None:
                node = random.choice(nodes)
                kept.connection = http.client.HTTPConnection(*node.address, timeout=30)
                try:
                    kept.connection.connect()
                except OSError:
                    kept.connection = None
                    time.sleep(0.01)
                    continue
            connection, kept.connection = kept.connection, None
            form = f"grant_type=client_credentials&client_id=shop&client_secret={first.secrets['shop']}"
            connection.request("POST", "/oauth/token", form, {"content-type": "application/x-www-form-urlencoded"})
            answer = connection.getresponse()
            answer.read()
            kept.connection = None if answer.will_close else connection
            return answer.status

    try:
        with load(ask, 16) as (answers, errors):
            for turn in range(20):
                time.sleep(0.3)
                nodes[turn % 2].stop()
                nodes[turn % 2] = start()
        assert not errors, (len(errors), errors[:3])
        assert set(answers) == {200}, set(answers)
    finally:
        for node in nodes:
            node.own_folder = False
            node.remove()
        first.own_folder = True
        first.remove()
        postgres.remove()
    return f"{len(answers)} requests over 20 restarts, none lost"
