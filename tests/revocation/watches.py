"""Tokens, what revokes them, and when each reader refuses them."""

import base64
import json
import statistics
from dataclasses import dataclass, field

from world import percentile


class Token:
    """An access token, the client that got it, and its position in a status list."""

    def __init__(self, text):
        claims = json.loads(base64.urlsafe_b64decode(text.split(".")[1] + "=="))
        reference = claims["status"]["status_list"]
        self.text, self.client, self.position = text, claims["client_id"], (reference["uri"], reference["idx"])


@dataclass(eq=False)
class Event:
    """A revocation of these tokens."""

    kind: str
    tokens: list
    answered_at: float = float("inf")


@dataclass(eq=False)
class Watch:
    """A token that every reader is asked about until it refuses it."""

    token: Token
    event: Event
    # By reader and its instance: when it was last asked and accepted the token, or the watch began, and when it refused it.
    refused: dict = field(default_factory=dict)


@dataclass
class Times:
    """When one reader refused."""

    # From the answer to the revocation until an instance refused the token.
    seconds: list = field(default_factory=list)
    # How much longer than planned an instance was not asked, before it refused: so uncertain is the time above.
    latest: float = 0.0
    # It accepted the token after the bound: what had revoked it, and how long before.
    alive: list = field(default_factory=list)
    # It never refused the token: what had revoked it.
    never: list = field(default_factory=list)
    # It refused the token after the bound, and was not asked between the bound and then.
    unknown: int = 0

    def row(self):
        return [len(self.seconds), *distribution(self.seconds), len(self.alive), len(self.never), self.unknown, f"{self.latest:.1f}"]


def distribution(seconds):
    """Median, p90, p99 and maximum."""
    if not seconds:
        return ["-"] * 4
    return [f"{value:.1f}" for value in [statistics.median(seconds), percentile(seconds, 0.9), percentile(seconds, 0.99), max(seconds)]]


def times_of(reader, watches):
    """A reader has `instances`, a `bound`, and asks `every` so many seconds."""
    times = Times()
    for watch in watches:
        answered_at = watch.event.answered_at
        for instance in range(reader.instances):
            if (reader, instance) not in watch.refused:
                times.never.append(watch.event.kind)
                continue
            accepted_at, refused_at = watch.refused[reader, instance]
            if accepted_at > answered_at + reader.bound:
                times.alive.append((watch.event.kind, accepted_at - answered_at))
            elif refused_at > answered_at + reader.bound:
                times.unknown += 1
            times.seconds.append(max(0, refused_at - answered_at))
            times.latest = max(times.latest, refused_at - accepted_at - reader.every)
    return times


def seconds_until_all(readers, watches):
    """From the answer to the revocation until the last instance of all readers refused the token."""
    wanted = sum(reader.instances for reader in readers)
    done = [watch for watch in watches if len(watch.refused) == wanted]
    return [max(0, max(refused_at for _, refused_at in watch.refused.values()) - watch.event.answered_at) for watch in done]
