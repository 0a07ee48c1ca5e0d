"""Revokes tokens, clients, users and logins under load, while nodes are killed and started again, and has every reader asked when it refuses them."""

import asyncio
import contextlib
import functools
import itertools
import random
import time

from cache import CACHED
from front import Apps
from nodes import AUDIENCE
from parties import CLIENT_WAYS, LOGIN_WAYS, TOKEN_WAYS, USER_WAYS, Parties
from readers import Instances, Ours, Stranger
from watches import Event, Token, Watch

# From the answer to a revocation until every reader refuses. A cache on the way adds its own `max-age`.
BOUND = 12
KILL_EVERY = 5
# Seconds of load before the first revocation.
BEFORE = 5
# How many tokens are kept for each that is revoked by itself: the others are those that no one revokes, and their siblings.
KEPT_PER_REVOKED = 4
# How many tokens are asked about at once, at the end.
AT_ONCE = 50


class Drill:
    def __init__(self, nodes, front, plan, folder):
        self.nodes, self.front, self.plan, self.folder = nodes, front, plan, folder
        self.parties = Parties(nodes)
        half = plan.verifiers // 2
        self.direct = self.instances("direct", f"Sealwright's verifier, {plan.verifiers - half} instances", plan.verifiers - half, BOUND)
        self.cached = self.instances(CACHED, f"the same behind nginx, {half} instances", half, BOUND)
        self.ours, self.strangers = [self.direct, self.cached], []
        self.keep_every = max(1, int(plan.rate * plan.seconds / (KEPT_PER_REVOKED * max(1, plan.tokens))))
        # The number of tokens under load, the positions of those that are asked about, and some of them; those of clients that went on.
        self.issued_count, self.asked, self.kept, self.later = 0, {}, [], []
        # What revoked each position.
        self.revoked = {}
        self.watches, self.killed, self.over = [], 0, asyncio.Event()
        # Refused tokens: with the position of a revoked one, issued by a node that had not noticed a revocation yet, and without a reason.
        self.siblings, self.born_revoked, self.unexplained = 0, 0, []
        self.verified, self.went_on, self.latest = 0, [], 0.0

    def instances(self, name, title, count, bound):
        folder = self.folder / name
        folder.mkdir()
        environment = {"ISSUER": self.nodes.issuer, "AUDIENCE": AUDIENCE, "DIVISOR": "1"}
        return Ours(Instances(name, title, count, self.plan.many_verifiers), folder, environment, bound, self.answered)

    @property
    def readers(self):
        return [*self.ours, *self.strangers]

    # The load.

    def issued(self, text, _):
        token, number = Token(text), self.issued_count
        self.issued_count += 1
        self.asked[number] = token.position
        self.ours[number % 2].ask(str(number), text)
        if number % self.keep_every == 0:
            self.kept.append(token)

    def answered(self, _, number, accepted, refused, reason):
        position = self.asked.pop(int(number))
        self.verified += accepted + refused
        if refused and position in self.revoked and reason.startswith("revoked:"):
            self.siblings += 1
        elif refused:
            self.unexplained.append((position, reason))

    async def kill_nodes(self):
        for number in itertools.cycle(range(2)):
            due = time.monotonic() + KILL_EVERY
            await self.nodes.kill_and_restart(number)
            self.killed += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0, due - time.monotonic())):
                    await self.over.wait()
            if self.over.is_set():
                return

    async def note_lateness(self):
        """What this process does at a time, it does later by as much."""
        while True:
            due = time.monotonic() + 0.05
            await asyncio.sleep(0.05)
            self.latest = max(self.latest, time.monotonic() - due)

    # What is revoked.

    def events(self):
        """What is revoked, in a random order."""
        parties, cycle, partial = self.parties, itertools.cycle, functools.partial
        events = [partial(self.revoke_token, way) for _, way in zip(range(self.plan.tokens), cycle(TOKEN_WAYS))]
        events += [partial(self.revoke_client, holder, way) for holder, way in zip(parties.clients, cycle(CLIENT_WAYS))]
        for holders, ways, act in [(parties.users, USER_WAYS, parties.revoke_user), (parties.logins, LOGIN_WAYS, parties.revoke_login)]:
            events += [partial(self.revoke, holder.tokens, way, act, holder) for holder, way in zip(holders, cycle(ways))]
        random.shuffle(events)
        return events

    async def revoke_all(self):
        events, began, tasks = self.events(), time.monotonic(), []
        for at, event in zip(sorted(random.uniform(0, self.plan.seconds) for _ in events), events):
            await asyncio.sleep(max(0, began + at - time.monotonic()))
            tasks.append(asyncio.create_task(event()))
        await asyncio.gather(*tasks)

    async def revoke(self, tokens, way, act, what):
        """Revokes these tokens in this way, and watches a token of each of two positions."""
        event = Event(way, tokens)
        self.revoked.update({token.position: event for token in tokens})
        for token in list({token.position: token for token in tokens}.values())[:2]:
            self.watches.append(Watch(token, event))
            for reader in self.readers:
                reader.watch(self.watches[-1])
        event.answered_at = await act(what, way)
        return event

    async def revoke_token(self, way):
        free = [token for token in self.kept if token.position not in self.revoked]
        assert free, "each token that was kept is revoked, or has the position of one that is: more load is needed"
        token = random.choice(free)
        return await self.revoke([token], way, self.parties.revoke_token, token)

    async def revoke_client(self, holder, way):
        client = holder.client
        if way == "client drop-secret --compromised":
            next_client = await self.parties.add_secret(client)
        event = await self.revoke(holder.tokens, way, self.parties.revoke_client, client)
        if way == "client revoke-tokens":
            await self.go_on(client, event)
        elif way == "client drop-secret --compromised":
            await self.go_on(next_client, event)

    async def go_on(self, client, event):
        """The client gets tokens until one is accepted by every verifier: a node that has not noticed the revocation yet issues revoked ones."""
        while time.time() < event.answered_at + BOUND:
            if token := await self.parties.next_token(client):
                answers = [await ours.ask_each(token) for ours in self.ours]
                reasons = [reason for _, refused, reason in answers if refused]
                if not reasons:
                    self.went_on.append(time.time() - event.answered_at)
                    self.later.append(token)
                    return
                if not all(reason.startswith("revoked:") for reason in reasons):
                    self.unexplained.append((token.position, reasons))
                self.born_revoked += 1
                self.revoked[token.position] = event
            await asyncio.sleep(0.25)
        self.unexplained.append((event.kind, f"its client got no valid token within {BOUND} s"))

    async def settle(self):
        """Waits until every reader refuses what was revoked, or must do so since long."""
        wanted = sum(reader.instances for reader in self.readers)
        until = max(watch.event.answered_at for watch in self.watches) + max(reader.bound for reader in self.readers) + 5
        while time.time() < until and any(len(watch.refused) < wanted for watch in self.watches):
            await asyncio.sleep(0.2)

    # The whole.

    async def run(self, asked):
        await self.front.start(self.nodes.port)
        noting, killing = asyncio.create_task(self.note_lateness()), None
        try:
            for ours in self.ours:
                await ours.start()
            await self.parties.furnish(self.plan.clients, self.plan.users, self.plan.logins)
            # A client's and a login's: of both lists.
            self.of_both = [self.parties.staying[0].tokens[0], self.parties.staying[-1].tokens[0]]
            await self.require_accepted(self.of_both)
            self.cached.bound = BOUND + self.front.max_age
            self.strangers = [Stranger(one, self.of_both, BOUND) for one in asked]
            for stranger in self.strangers:
                stranger.start()
            self.apps = Apps(self.nodes.addresses, list(self.parties.apps.values()), AUDIENCE, self.plan.rate, self.issued)
            self.apps.start()
            self.began, killing = time.time(), asyncio.create_task(self.kill_nodes())
            await asyncio.sleep(BEFORE)
            await self.revoke_all()
            await self.settle()
            self.loaded = time.time() - self.began
            self.over.set()
            await killing
            await self.apps.stop()
            for ours in self.ours:
                await ours.drain()
            await self.replay()
        finally:
            self.over.set()
            noting.cancel()
            await asyncio.gather(*filter(None, [killing]), return_exceptions=True)
            for stranger in self.strangers:
                stranger.over.set()
            for ours in self.ours:
                await ours.stop()
            await self.front.stop()

    async def require_accepted(self, tokens):
        for ours, token in itertools.product(self.ours, tokens):
            accepted, _, reason = await ours.ask_each(token)
            assert accepted == ours.instances, f"{ours.title} refuses a token before anything was revoked: {reason}"

    # The end.

    async def replay(self):
        """The front answers with each list as it was at first. Readers keep theirs, and everything that is known of tokens is asked once more.
        Then one more is revoked."""
        self.front.replaying = True
        await self.wait_for_replays()
        self.trusting = await self.ask_newcomer()
        self.wrong = await self.ask_all()
        self.front.replaying = False
        event = await self.revoke_token(TOKEN_WAYS[0])
        event.kind += " after the replay"
        await self.settle()
        self.faults = [fault for stranger in self.strangers for fault in await asyncio.to_thread(stranger.stop)]

    async def wait_for_replays(self):
        paths = [token.position[0].removeprefix(self.nodes.issuer) for token in self.of_both]
        until = time.monotonic() + 90
        while left := [agent for path in paths for agent in self.front.not_replayed(path)]:
            assert time.monotonic() < until, f"they have not read a list for 90 s: {left}"
            await asyncio.sleep(0.2)

    async def ask_newcomer(self):
        """How many revoked tokens a verifier accepts that has never had a list: this shows that the old lists are as good as new ones."""
        newcomer = self.instances("newcomer", "a new instance", 1, BOUND)
        await newcomer.start()
        try:
            answers = [await newcomer.ask_each(watch.token) for watch in self.watches[:20]]
        finally:
            await newcomer.stop()
        return sum(accepted for accepted, *_ in answers)

    async def ask_all(self):
        """Asks every reader about all tokens. Returns what is wrong."""
        tokens = [token for event in {watch.event for watch in self.watches} for token in event.tokens]
        by_themselves = {token.text for token in tokens}
        others = [token for token in self.kept + self.later if token.text not in by_themselves]
        others += [token for holder in self.parties.staying for token in holder.tokens]
        tokens += others
        self.asked_again, self.sibling_tokens = len(tokens), sum(token.position in self.revoked for token in others)
        wrong = []
        for ours, start in itertools.product(self.ours, range(0, len(tokens), AT_ONCE)):
            some = tokens[start : start + AT_ONCE]
            for token, (accepted, refused, reason) in zip(some, await asyncio.gather(*map(ours.ask_each, some))):
                if accepted if token.position in self.revoked else refused:
                    wrong.append(f"{ours.title}: {accepted} accept and {refused} refuse {self.known(token)}: {reason}")
        for stranger in self.strangers:
            is_revoked = await asyncio.to_thread(lambda: [stranger.is_revoked(token) for token in tokens])
            differing = [token for token, revoked in zip(tokens, is_revoked) if revoked != (token.position in self.revoked)]
            wrong += [f"{stranger.title} reads another status of {self.known(token)}" for token in differing]
        return wrong

    def known(self, token):
        event = self.revoked.get(token.position)
        what = f"which `{event.kind}` revoked" if event else "which no one revoked"
        return f"a token of {token.client}, {what}, with the position {token.position}"
