"""Attacks on connections and on memory, by one host that has several addresses."""

import contextlib
import multiprocessing
import resource
import socket
import struct
import time

from world import Server, load, ms, percentile

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, payload=b""):
    """A frame of HTTP/2 (RFC 9113 section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(index, value):
    """A header whose name is in the static table (RFC 7541 section 6.2.2)."""
    prefix = bytes([index]) if index < 15 else bytes([15, index - 15])
    return prefix + bytes([len(value)]) + value


POST = b"\x83\x86" + literal(4, b"/oauth/token") + literal(1, b"x") + literal(31, b"application/x-www-form-urlencoded")
GET = b"\x82\x86" + literal(4, b"/health/live") + literal(1, b"x")
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
STATUS_503 = b"503"


class Hoarder:
    """One connection whose streams each hold back the last byte of a body of 64 KiB."""

    def __init__(self, address, source, streams):
        self.socket = socket.create_connection(address, source_address=(source, 0))
        self.socket.setblocking(False)
        self.out, self.into = bytearray(PREFACE + frame(SETTINGS, 0, 0)), bytearray()
        self.window, self.initial, self.limit, self.next = 65535, 65535, 1, 1
        self.streams, self.target = {}, streams
        self.refused = self.opened = 0
        self.open = True

    def pump(self):
        """Sends what the windows allow, reads what has arrived, and opens a stream for each that ended."""
        while len(self.streams) < min(self.target, self.limit) and len(self.out) < 2**20:
            self.out += frame(HEADERS, 4, self.next, POST)
            self.streams[self.next] = [65535, self.initial]
            self.next += 2
            self.opened += 1
        for number, (left, window) in self.streams.items():
            size = min(left, window, self.window, 16384)
            if size > 0 and len(self.out) < 2**20:
                self.out += frame(DATA, 0, number, b"a" * size)
                self.streams[number] = [left - size, window - size]
                self.window -= size
        try:
            if self.out:
                sent = self.socket.send(self.out)
                del self.out[:sent]
            while True:
                read = self.socket.recv(65536)
                if not read:
                    self.open = False
                    break
                self.into += read
        except BlockingIOError:
            pass
        except OSError:
            self.open = False
        while len(self.into) >= 9:
            length = int.from_bytes(self.into[:3], "big")
            if len(self.into) < 9 + length:
                break
            kind, flags, number = self.into[3], self.into[4], int.from_bytes(self.into[5:9], "big")
            payload = bytes(self.into[9:9 + length])
            del self.into[:9 + length]
            self.take(kind, flags, number, payload)

    def take(self, kind, flags, number, payload):
        if kind == SETTINGS and not flags & 1:
            for at in range(0, len(payload), 6):
                name, value = struct.unpack(">HI", payload[at:at + 6])
                if name == 3:
                    self.limit = value
                if name == 4:
                    for stream in self.streams.values():
                        stream[1] += value - self.initial
                    self.initial = value
            self.out += frame(SETTINGS, 1, 0)
        elif kind == PING and not flags & 1:
            self.out += frame(PING, 1, 0, payload)
        elif kind == WINDOW_UPDATE:
            more = int.from_bytes(payload, "big")
            if number == 0:
                self.window += more
            elif number in self.streams:
                self.streams[number][1] += more
        elif kind == HEADERS:
            # `:status: 503` has no entry in the static table.
            self.refused += STATUS_503 in payload or b"\x64" in payload
        if (kind in (DATA, HEADERS) and flags & 1) or kind == RST_STREAM:
            self.streams.pop(number, None)


def hoard_until(done, counts, address, connections, streams, sources):
    hoarders = [Hoarder(address, sources[number % len(sources)], streams) for number in range(connections)]
    while not done.is_set():
        for hoarder in hoarders:
            if hoarder.open:
                hoarder.pump()
        time.sleep(0.001)
    counts.put((sum(hoarder.opened for hoarder in hoarders), sum(hoarder.refused for hoarder in hoarders)))


@contextlib.contextmanager
def hoard(address, connections, streams, sources):
    """Hoards in a separate process until the end of the block; then returns how many requests it began and how many were refused."""
    context = multiprocessing.get_context("fork")
    done, counts, result = context.Event(), context.Queue(), []
    attacker = context.Process(target=hoard_until, args=(done, counts, address, connections, streams, sources), daemon=True)
    attacker.start()
    try:
        yield result
    finally:
        done.set()
        result.extend(counts.get(timeout=30))
        attacker.join()


def resident_mib(server):
    for line in open(f"/proc/{server.process.pid}/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024


def hoarded(program, sources):
    server = Server(program, limits=["prlimit", "--data=536870912"])
    try:
        with load(server.token, 4) as (answers, errors):
            time.sleep(3)
        assert not errors, errors[:3]
        before, most = resident_mib(server), 0
        with hoard(server.address, 80, 100, sources) as result:
            with load(server.token, 2) as (answers, errors):
                for _ in range(100):
                    time.sleep(0.1)
                    most = max(most, resident_mib(server))
        opened, refused = result
        assert server.process.poll() is None, "the process is gone"
        assert not errors, (len(errors), errors[:3])
        assert {status for status, *_ in answers} == {200}, {status: sum(s == status for s, *_ in answers) for status, *_ in answers}
        assert refused > 100, refused
        assert most - before < 64, (before, most)
        time.sleep(2)
        after = resident_mib(server)
        p99 = percentile([took for *_, took in answers], 0.99)
        return (f"{before:.0f} MiB before, at most {most:.0f}, {after:.0f} afterwards; {opened} requests held back, {refused} refused; "
                f"{len(answers)} good requests from the attacker's address, none failed, p99 {ms(p99)}")
    finally:
        server.remove()


def hd2_bodies_without_an_end_take_no_more_than_the_budget(program):
    """80 connections x 100 HTTP/2 streams, one byte short of their end, under a data limit of 512 MiB."""
    return hoarded(program, ["127.0.0.1"])


def hd2_many_sources_take_no_more_than_the_budget_either(program):
    """The same by 20 addresses, each with less than its share; good clients come from one of them."""
    return hoarded(program, [f"127.0.0.{number}" for number in range(1, 21)])


def hd3_connections_that_only_ping_are_closed_and_others_are_served(program):
    """4,096 connections of two addresses, each with a PING now and then and nothing else; idle is 10 s here, and 75 s by default."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft >= 5000, f"missing: 5,000 file descriptors (ulimit -n is {soft})"
    figures = []
    # By default each address has 256 places. With a higher limit, the two addresses take all places.
    for settings in [{}, {"connections_per_source": 2048}]:
        server = Server(program, connection_idle="10s", **settings)
        held = {}
        try:
            began, lived = time.monotonic(), []
            hello = PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, 5, 1, GET)
            for number in range(4096):
                one = socket.create_connection(server.address, source_address=(f"127.0.0.{2 + number % 2}", 0))
                one.sendall(hello)
                one.setblocking(False)
                held[one] = time.monotonic()
            slowest, next_ping = 0, time.monotonic() + 2
            while held and time.monotonic() - began < 90:
                for path in ["/health/live", "/health/ready"]:
                    status, _, _, took = server.ask("GET", path, timeout=20)
                    assert status == 200, (path, status)
                    slowest = max(slowest, took)
                assert server.token(timeout=20)[0] == 200
                ping = time.monotonic() >= next_ping
                next_ping += 2 * ping
                for one, since in list(held.items()):
                    try:
                        if ping:
                            one.send(frame(PING, 0, 0, b"12345678"))
                        if one.recv(65536) == b"":
                            raise ConnectionResetError
                    except BlockingIOError:
                        continue
                    except OSError:
                        lived.append(time.monotonic() - since)
                        one.close()
                        del held[one]
                time.sleep(0.2)
            assert not held, f"{len(held)} connections still stand after 90 s"
            # The idle limit, the time for GOAWAY, and the same again for a slow machine.
            assert max(lived) < 40, max(lived)
            figures.append(f"{settings or 'defaults'}: all closed, the last after {max(lived):.0f} s; health within {ms(slowest)}")
        finally:
            for one in held:
                one.close()
            server.remove()
    return "; ".join(figures)
