"""Issues tokens while keys are rotated, asks every library about each, and counts what was refused that was valid."""

import array
import asyncio
import base64
import collections
import json
import statistics
import time
from dataclasses import dataclass, field

from front import Apps
from jwks import JwksForwarder
from nodes import AUDIENCE
from verifying import LONGEST_QUEUE, Verifying

# The first tokens of a key, which all instances of ours are asked about.
FIRST_TOKENS = 20
# By how much a key may sign before the last cached JWKS without it has expired: the database has whole seconds, and a key is generated
# within its lead. Neither is divided, and undivided both are within the skew of two minutes that the lead allows for.
UNDIVIDED = 1.0
# Every hundredth token is asked about again when it is this old.
OLD, OLD_SHARE = 50, 100


@dataclass
class Key:
    """A key as the drill sees it: when a token named it first, and whether it came without a lead."""

    first_signed: float
    unplanned: bool
    tokens: int = 0
    revoked_from: float = float("inf")
    revoked_at: float = float("inf")
    number: int = 0
    token: str = ""


@dataclass
class Counts:
    """What one library answered."""

    verified: int = 0
    unplanned: int = 0
    old: int = 0
    # (kid, when the token was issued, when it was refused, how many instances refused it, why)
    refused: list = field(default_factory=list)
    # The keys of which it accepted a token, and of each that was revoked, the seconds from the end of the command until it was refused.
    known: set = field(default_factory=set)
    dropped: dict = field(default_factory=dict)


class Drill:
    def __init__(self, nodes, built, rate, longest_queue=LONGEST_QUEUE):
        self.nodes = nodes
        environment = {"ISSUER": nodes.issuer, "JWKS_URI": nodes.issuer + "/.well-known/jwks.json", "AUDIENCE": AUDIENCE, "DIVISOR": str(nodes.divisor)}
        self.libraries = [Verifying(library, folder, environment, longest_queue, self.answered) for library, folder in built]
        self.counts = {verifying: Counts() for verifying in self.libraries}
        self.front = JwksForwarder(nodes.addresses, self.seen)
        self.apps = Apps(nodes.addresses, [nodes.client], AUDIENCE, rate, self.issued)
        self.kids, self.keys, self.index_of, self.kid_of_header = [], {}, {}, {}
        self.token_kid, self.token_at = array.array("H"), array.array("d")
        # The libraries that have not answered yet whether they refuse a compromised key.
        self.probing = set()
        self.old, self.next_unplanned, self.changed = collections.deque(), False, asyncio.Event()
        # Until when a verifier may have a cached JWKS with exactly these kids, and the last time that each kid was published.
        self.cached_until, self.published, self.max_ages, self.surprises, self.latest = {}, {}, set(), [], 0

    async def __aenter__(self):
        await self.front.start(self.nodes.port)
        for verifying in self.libraries:
            await verifying.start()
        self.apps.start()
        self.began = time.time()
        self.asking_again = asyncio.create_task(self.ask_again())
        return self

    async def __aexit__(self, kind, *_):
        await self.apps.stop()
        try:
            if kind is None:
                for verifying in self.libraries:
                    await verifying.drain()
        finally:
            self.ended = time.time()
            self.asking_again.cancel()
            for verifying in self.libraries:
                await verifying.stop()
            await self.front.stop()

    # Tokens and the JWKS as they pass.

    def issued(self, token, now):
        header = token.partition(".")[0]
        kid = self.kid_of_header.get(header) or self.read_kid(header)
        key = self.keys.get(kid)
        if key is None:
            key = self.new_key(kid, now)
        number = len(self.token_at)
        key.tokens, key.number, key.token = key.tokens + 1, number, token
        self.token_kid.append(self.index_of[kid])
        self.token_at.append(now)
        all_instances = "!" if key.tokens <= FIRST_TOKENS else ""
        for verifying in self.libraries:
            verifying.ask(f"{number}{all_instances}", token)
        if number % OLD_SHARE == 0:
            self.old.append((number, kid, now, token))

    def read_kid(self, header):
        kid = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))["kid"]
        self.kid_of_header[header] = kid
        return kid

    def new_key(self, kid, now):
        key = self.keys[kid] = Key(now, self.next_unplanned)
        self.next_unplanned = False
        self.index_of[kid] = len(self.kids)
        self.kids.append(kid)
        if not key.unplanned and len(self.kids) > 1:
            late = max((until - now for kids, until in self.cached_until.items() if kid not in kids), default=0)
            self.latest = max(self.latest, late)
            if late > UNDIVIDED:
                self.surprises.append((kid, late))
        self.changed.set()
        return key

    def seen(self, kids, max_age, now):
        self.max_ages.add(max_age)
        self.cached_until[kids] = max(self.cached_until.get(kids, 0), now + max_age)
        for kid in kids:
            self.published[kid] = now

    # Answers.

    def answered(self, verifying, number, accepted, refused, reason):
        counts, now = self.counts[verifying], time.time()
        if number[0] == "p":
            kid = self.kids[self.token_kid[int(number[1:-1])]]
            self.probing.discard((verifying, kid))
            if refused and not accepted:
                counts.dropped.setdefault(kid, max(0, now - self.keys[kid].revoked_at))
            return
        index = int(number.strip("o!"))
        kid = self.kids[self.token_kid[index]]
        counts.verified += accepted + refused
        counts.unplanned += (accepted + refused) * self.keys[kid].unplanned
        counts.old += number[0] == "o"
        if accepted:
            counts.known.add(kid)
        if refused:
            counts.refused.append((kid, self.token_at[index], now, refused, reason))

    async def ask_again(self):
        """Asks about tokens again shortly before they expire: their key has retired long ago, and must still be published."""
        while True:
            await asyncio.sleep(0.2)
            while self.old and self.old[0][2] < time.time() - OLD:
                number, kid, _, token = self.old.popleft()
                if self.keys[kid].revoked_from == float("inf"):
                    for verifying in self.libraries:
                        verifying.ask(f"o{number}!", token)

    def refused_valid(self, verifying, unplanned):
        """Refusals of tokens whose key was not revoked by then, of keys that came with a lead or without."""
        refused = self.counts[verifying].refused
        return [it for it in refused if it[2] < self.keys[it[0]].revoked_from and self.keys[it[0]].unplanned == unplanned]

    # What an operator does.

    async def key(self, number, seconds):
        """Waits until the key of this number signs; the first one is 0."""
        async with asyncio.timeout(seconds):
            while len(self.kids) <= number:
                self.changed.clear()
                await self.changed.wait()
        for verifying in self.libraries:
            assert verifying.process.returncode is None, verifying.said()

    async def compromise(self, seconds):
        """Revokes the key that signs. The tasks that it returns end when all refuse it, or after `seconds`."""
        self.next_unplanned = True
        revoked, ended = await self.nodes.revoke()
        signed = revoked.keys() & self.keys.keys()
        for kid in signed:
            self.keys[kid].revoked_from, self.keys[kid].revoked_at = revoked[kid], ended
        return [asyncio.create_task(self.probe(kid, seconds)) for kid in signed]

    async def probe(self, kid, seconds):
        key = self.keys[kid]
        while time.time() < key.revoked_at + seconds:
            asked = [verifying for verifying in self.libraries if kid not in self.counts[verifying].dropped]
            if not asked:
                return
            for verifying in asked:
                # A library that is slow gets the next one when it has answered: otherwise these alone would keep it busy.
                if (verifying, kid) not in self.probing:
                    self.probing.add((verifying, kid))
                    verifying.ask(f"p{key.number}!", key.token)
            await asyncio.sleep(0.1)

    # Figures.

    def rate(self):
        return len(self.token_at) / (self.ended - self.began)

    def stalled(self, share):
        """Whether fewer tokens were issued than this share of the rate, or none for long."""
        stalled = self.apps.longest_gap > 5 or self.rate() < share * self.apps.rate
        return [f"{self.rate():.0f} of {self.apps.rate} tokens/s, longest pause {self.apps.longest_gap:.1f} s"] if stalled else []

    def early(self):
        """The keys that signed before every verifier could know them."""
        return [f"{kid} signed {late:.1f} s before the last cached JWKS without it had expired" for kid, late in self.surprises]

    def revoked(self, verifying=None):
        """The revoked keys, of which this library had accepted a token."""
        revoked = [kid for kid, key in self.keys.items() if key.revoked_at < float("inf")]
        return [kid for kid in revoked if verifying is None or kid in self.counts[verifying].known]

    def dropped(self, verifying, longest):
        """Seconds until a compromised key was refused: minimum, median and maximum."""
        seconds = [self.counts[verifying].dropped.get(kid, float("inf")) for kid in self.revoked(verifying)]
        show = lambda value: f"> {longest}" if value == float("inf") else f"{value:.1f}"
        return " / ".join(show(value) for value in [min(seconds), statistics.median_low(seconds), max(seconds)]) if seconds else "-"
