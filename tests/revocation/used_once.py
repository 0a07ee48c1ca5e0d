"""A client that revokes each token after use, as functions do that run for one request, and what that leaves in the database."""

import asyncio
import json
import random
import time

from front import Caller, post, token_request
from nodes import AUDIENCE
from parties import Parties
from watches import Token

WORKERS = 16
# In the first seconds a client has few positions.
FIRST_SECONDS = 5
# Of so many tokens, one is introspected again after its revocation.
AGAIN = 10

# Notes of each statement how many revocations it deletes.
NOTE_DELETED = """
CREATE TABLE deleted_together (count BIGINT NOT NULL);
CREATE FUNCTION note_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO deleted_together SELECT COUNT(*) FROM deleted; RETURN NULL; END $$;
CREATE TRIGGER note_deleted AFTER DELETE ON revocations
    REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT EXECUTE FUNCTION note_deleted()
"""
EXPIRE_ALL = "UPDATE revocations SET expires_at = CAST(EXTRACT(EPOCH FROM now()) AS BIGINT) - 3600"
SPANS = """
SELECT s.width, s.ends_at IS NULL, (SELECT COUNT(*) FROM revocations r WHERE r.list_id = s.list_id AND r.start >= s.start AND r.start < s.start + s.width)
FROM status_spans s WHERE s.client_id = '{client}' ORDER BY s.created_at, s.width
"""
WIDEST = 65536


class UsedOnce:
    """A client that gets `rate` tokens a second from these nodes in turn. An API introspects each at the next node; then the client revokes it."""

    def __init__(self, addresses, client, api, rate):
        self.addresses, self.client, self.api, self.rate = addresses, client, api, rate
        self.turn, self.revoked = 0, set()
        # Tokens after the first seconds, and of these and the others those that were refused because another one had the position.
        self.later, self.siblings, self.siblings_later = 0, 0, 0
        # Refused without that, and still active after their own revocation.
        self.unexplained, self.alive = 0, 0

    async def run(self, seconds):
        self.began = time.monotonic()
        await asyncio.gather(*(self.use_tokens(number, self.began + seconds) for number in range(WORKERS)))
        self.seconds = time.monotonic() - self.began

    async def use_tokens(self, number, until):
        callers = [Caller(self.addresses, node) for node in range(len(self.addresses))]
        pause = WORKERS / self.rate
        due = time.monotonic() + pause * number / WORKERS
        while due < until:
            await asyncio.sleep(max(0, due - time.monotonic()))
            await self.use_token(callers)
            # Behind by more than a second, the rest is given up: the rate that was reached is printed.
            due = max(due + pause, time.monotonic() - 1)
        for caller in callers:
            caller.close()

    async def use_token(self, callers):
        self.turn += 1
        issuing, checking = callers[self.turn % len(callers)], callers[(self.turn + 1) % len(callers)]
        token, again = Token((await answer(issuing, token_request(self.client, AUDIENCE)))["access_token"]), self.turn % AGAIN == 0
        is_later = time.monotonic() > self.began + FIRST_SECONDS
        self.later += is_later
        if not await self.is_active(checking, token):
            if token.position in self.revoked:
                self.siblings += 1
                self.siblings_later += is_later
            else:
                self.unexplained += 1
        # Others that have the position may be refused from the request on.
        self.revoked.add(token.position)
        await answer(random.choice(callers), post("/oauth/revoke", self.client, token=token.text))
        self.alive += again and await self.is_active(checking, token)

    async def is_active(self, caller, token):
        return (await answer(caller, post("/oauth/introspect", self.api, token=token.text)))["active"]


async def answer(caller, request):
    status, body = await caller.send(request)
    assert status == 200, f"{status} {body.decode()}: {request.decode().splitlines()[0]}"
    return json.loads(body or "{}")


async def revoke_after_use(nodes, rate, seconds):
    """First with one node, then with two. Returns both, and the clients' spans: the width, whether it is the current one, and its revocations."""
    parties = Parties(nodes)
    said, _ = await parties.command("client", "create", "api", "--introspects", AUDIENCE, "--json")
    done = []
    await nodes.kill(1)
    for addresses, duration in [(nodes.addresses[:1], seconds / 2), (nodes.addresses, seconds)]:
        if len(addresses) == 2:
            await asyncio.to_thread(nodes.start, 1)
        client = await parties.create_client(f"functions-{len(addresses)}", "client_credentials")
        used = UsedOnce(addresses, client, json.loads(said), rate)
        await used.run(duration)
        lines = nodes.postgres.sql(SPANS.format(client=client["client_id"])).splitlines()
        spans = [(int(width), current == "t", int(count)) for width, current, count in (line.split("|") for line in lines)]
        done.append((used, spans))
    return done


async def delete_expired(nodes, longest=150):
    """Lets all revocations expire. Returns how many were deleted by each statement, and after how many seconds none was left."""
    nodes.postgres.sql(NOTE_DELETED)
    nodes.postgres.sql(EXPIRE_ALL)
    began = time.monotonic()
    # A node looks when it starts, and otherwise once a minute.
    await nodes.kill_and_restart(0)
    while nodes.postgres.sql("SELECT COUNT(*) FROM revocations").strip() != "0":
        assert time.monotonic() < began + longest, f"revocations that have expired are left after {longest} s"
        await asyncio.sleep(0.5)
    counts = nodes.postgres.sql("SELECT count FROM deleted_together WHERE count > 0").split()
    return list(map(int, counts)), time.monotonic() - began
