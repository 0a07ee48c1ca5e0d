"""Forwards the requests of verifiers, and sees which keys they get."""

import json
import time

from front import Forwarder


class JwksForwarder(Forwarder):
    """`seen(kids, max_age, now)` is called for each answer with a JWKS."""

    def __init__(self, addresses, seen):
        super().__init__(addresses)
        self.seen, self.tagged = seen, {}

    async def answer(self, path, agent, request):
        answer = await super().answer(path, agent, request)
        if "jwks" in path:
            self.note(*answer)
        return answer

    def note(self, status, headers, _, body):
        if status == 200:
            self.tagged[headers.get("etag")] = frozenset(key["kid"] for key in json.loads(body)["keys"])
        kids = self.tagged.get(headers.get("etag"))
        if kids is not None and status in (200, 304):
            max_age = next(part.partition("=")[2] for part in headers["cache-control"].split(",") if "max-age" in part)
            self.seen(kids, int(max_age), time.time())
