"""What stands before the nodes: a forwarder for verifiers that asks the other node when one does not answer, as a proxy would, and the
apps that get tokens from both nodes.
"""

import asyncio
import base64
import collections
import contextlib
import json
import time
import urllib.parse

NODE_TIMEOUT = 3
BROKEN = (OSError, EOFError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError)


async def head_and_body(reader):
    """The status, the headers in lower case, the head as it is, and the body of an answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}
    status = int(first.split(" ")[1])
    length = 0 if status == 304 else int(headers.get("content-length", 0))
    return status, headers, head, await reader.readexactly(length)


class Forwarder:
    """`seen(kids, max_age, now)` is called for each answer with a JWKS."""

    def __init__(self, addresses, seen):
        self.addresses, self.seen, self.turn = addresses, seen, 0
        self.tagged, self.fetches = {}, collections.Counter()

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
            status, headers, head, body = await self.ask(request)
            if "jwks" in first:
                self.fetches[agent] += 1
                self.note(status, headers, body)
            writer.write(head + body)
            await writer.drain()
        writer.close()

    async def ask(self, request):
        """The answer of the next node, or of the other one if it has none."""
        self.turn += 1
        for attempt, turn in enumerate(range(self.turn, self.turn + 4)):
            try:
                async with asyncio.timeout(NODE_TIMEOUT):
                    reader, writer = await asyncio.open_connection(*self.addresses[turn % 2])
                    try:
                        writer.write(request)
                        answer = await head_and_body(reader)
                    finally:
                        writer.close()
                if answer[0] != 503:
                    return answer
            except BROKEN:
                await asyncio.sleep(0.05 * attempt)
        raise EOFError("no node answers")

    def note(self, status, headers, body):
        if status == 200:
            self.tagged[headers.get("etag")] = frozenset(key["kid"] for key in json.loads(body)["keys"])
        kids = self.tagged.get(headers.get("etag"))
        if kids is not None and status in (200, 304):
            max_age = next(part.partition("=")[2] for part in headers["cache-control"].split(",") if "max-age" in part)
            self.seen(kids, int(max_age), time.time())


class Apps:
    """Get `rate` tokens a second, half of them from each node, and from the other node while one is down."""

    CONNECTIONS = 8

    def __init__(self, addresses, client, audience, rate, issued):
        self.addresses, self.rate, self.issued = addresses, rate, issued
        basic = base64.b64encode(f"{client['client_id']}:{client['secret']['value']}".encode()).decode()
        form = urllib.parse.urlencode({"grant_type": "client_credentials", "resource": audience})
        self.request = (
            f"POST /oauth/token HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic {basic}\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\n\r\n{form}").encode()
        self.others, self.longest_gap, self.last = collections.Counter(), 0.0, None

    def start(self):
        self.tasks = [asyncio.create_task(self.get_tokens(number)) for number in range(self.CONNECTIONS)]

    async def stop(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def get_tokens(self, number):
        node, writer, due = number % 2, None, time.monotonic()
        pause = self.CONNECTIONS / self.rate
        while True:
            # Behind by more than a second, the rest is given up: the rate that was reached is printed.
            due = max(due + pause, time.monotonic() - 1)
            await asyncio.sleep(max(0, due - time.monotonic()))
            while True:
                try:
                    if writer is None:
                        reader, writer = await asyncio.open_connection(*self.addresses[node])
                        connected = time.monotonic()
                    writer.write(self.request)
                    async with asyncio.timeout(NODE_TIMEOUT):
                        status, _, _, body = await head_and_body(reader)
                    if status == 200:
                        break
                    self.others[status] += 1
                except BROKEN as error:
                    self.others[type(error).__name__] += 1
                if writer is not None:
                    writer.close()
                node, writer = 1 - node, None
                await asyncio.sleep(0.02)
            now = time.time()
            self.longest_gap = max(self.longest_gap, now - (self.last or now))
            self.last = now
            self.issued(json.loads(body)["access_token"], now)
            # Back to its own node once that may be up again.
            if node != number % 2 and time.monotonic() > connected + 2:
                writer.close()
                node, writer = number % 2, None
