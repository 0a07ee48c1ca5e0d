"""What stands before the nodes: a forwarder for verifiers that asks the other node when one does not answer, as a proxy would, and apps
that send requests to both nodes.
"""

import asyncio
import base64
import collections
import contextlib
import itertools
import json
import time
import urllib.parse

NODE_TIMEOUT = 3
BROKEN = (OSError, EOFError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError)
# After these, the other node is asked.
UNAVAILABLE = [502, 503, 504]


async def head_and_body(reader):
    """The status, the headers in lower case, the head as it is, and the body of an answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}
    status = int(first.split(" ")[1])
    length = 0 if status == 304 else int(headers.get("content-length", 0))
    return status, headers, head, await reader.readexactly(length)


class Forwarder:
    """Answers verifiers with what a node answers. A kind of it may look at the answers, or give others."""

    def __init__(self, addresses):
        self.addresses, self.turn = addresses, 0

    async def start(self, port):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", port)

    async def stop(self):
        self.server.close()

    async def serve(self, reader, writer):
        with contextlib.suppress(*BROKEN):
            head = await reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")
            kept = [line for line in lines if line and not line.lower().startswith("connection:")]
            agent = next((line[12:] for line in lines if line.lower().startswith("user-agent: ")), "none")
            request = "\r\n".join([first, *kept, "Connection: close", "", ""]).encode()
            _, _, head, body = await self.answer(first.split(" ")[1], agent, request)
            writer.write(head + body)
            await writer.drain()
        writer.close()

    def route(self, agent):
        """The addresses that are asked until one answers: those of the nodes in turn, and each twice."""
        self.turn += 1
        return [self.addresses[turn % len(self.addresses)] for turn in range(self.turn, self.turn + 4)]

    async def answer(self, path, agent, request):
        for attempt, address in enumerate(self.route(agent)):
            try:
                async with asyncio.timeout(NODE_TIMEOUT):
                    reader, writer = await asyncio.open_connection(*address)
                    try:
                        writer.write(request)
                        answer = await head_and_body(reader)
                    finally:
                        writer.close()
                if answer[0] not in UNAVAILABLE:
                    return answer
            except BROKEN:
                await asyncio.sleep(0.05 * attempt)
        raise EOFError("no node answers")


def post(path, client, **form):
    """A request of a client, which authenticates with its secret."""
    basic = base64.b64encode(f"{client['client_id']}:{client['secret']['value']}".encode()).decode()
    form = urllib.parse.urlencode(form)
    return (f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic {basic}\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\n\r\n{form}").encode()


def token_request(client, audience):
    return post("/oauth/token", client, grant_type="client_credentials", resource=audience)


class Caller:
    """Sends requests to one node over a connection that it keeps, and to the other one while that is down."""

    def __init__(self, addresses, node):
        self.addresses, self.own, self.node, self.writer = addresses, node, node, None
        # What was answered, or happened, instead of an answer that is returned.
        self.others = collections.Counter()

    async def send(self, request, wanted=None):
        """The status and the body of the first answer that is not 503, or that has the wanted status."""
        # Back to its own node once that may be up again.
        if self.node != self.own and time.monotonic() > self.connected + 2:
            self.close()
            self.node = self.own
        while True:
            try:
                if self.writer is None:
                    reader, writer = await asyncio.open_connection(*self.addresses[self.node])
                    self.reader, self.writer, self.connected = reader, writer, time.monotonic()
                self.writer.write(request)
                async with asyncio.timeout(NODE_TIMEOUT):
                    status, _, _, body = await head_and_body(self.reader)
                if status == wanted or (wanted is None and status not in UNAVAILABLE):
                    return status, body
                self.others[status] += 1
            except BROKEN as error:
                self.others[type(error).__name__] += 1
            self.close()
            self.node = (self.node + 1) % len(self.addresses)
            await asyncio.sleep(0.02)

    def close(self):
        if self.writer is not None:
            self.writer.close()
            self.writer = None


class Apps:
    """Get `rate` tokens a second for these clients in turn, half of them from each node, and from the other node while one is down."""

    CONNECTIONS = 8

    def __init__(self, addresses, clients, audience, rate, issued):
        self.rate, self.issued = rate, issued
        self.requests = itertools.cycle([token_request(client, audience) for client in clients])
        self.callers = [Caller(addresses, number % len(addresses)) for number in range(self.CONNECTIONS)]
        self.longest_gap, self.last = 0.0, None

    def start(self):
        self.tasks = [asyncio.create_task(self.get_tokens(caller)) for caller in self.callers]

    async def stop(self):
        for task in self.tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self.tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    @property
    def others(self):
        """What was answered, or happened, instead of a token."""
        return sum((caller.others for caller in self.callers), collections.Counter())

    async def get_tokens(self, caller):
        due, pause = time.monotonic(), self.CONNECTIONS / self.rate
        while True:
            # Behind by more than a second, the rest is given up: the rate that was reached is printed.
            due = max(due + pause, time.monotonic() - 1)
            await asyncio.sleep(max(0, due - time.monotonic()))
            _, body = await caller.send(next(self.requests), wanted=200)
            now = time.time()
            self.longest_gap = max(self.longest_gap, now - (self.last or now))
            self.last = now
            self.issued(json.loads(body)["access_token"], now)
