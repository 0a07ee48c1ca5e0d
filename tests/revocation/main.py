"""Revokes tokens, clients, users and logins under load, and measures when every reader of the status lists refuses them."""

import argparse
import asyncio
import collections
import contextlib
import random
import sys
import tempfile
from pathlib import Path

import status_lists
from cache import Front, cache_before
from drill import BOUND, Drill
from nodes import AUDIENCE, Nodes
from rows import run, table
from used_once import FIRST_SECONDS, WIDEST, delete_expired, revoke_after_use
from watches import distribution, seconds_until_all, times_of

# No token expires while the drill runs.
LIFETIME, LONGEST_RUN = "2h", 3600
# The share of measurements that may be too coarse to show whether the bound was kept, because the drill itself was late.
UNKNOWN = 0.01
# With two nodes, the share of a client's tokens that may be refused after the first seconds because others are revoked.
SIBLINGS = 0.01
# Nodes delete no more rows than this by one statement.
DELETED_TOGETHER = 1000

SHORT = {"rate": 60, "seconds": 25, "tokens": 30, "clients": 8, "users": 4, "logins": 5, "used_rate": 100, "used_seconds": 20}


def nodes_of(plan):
    return Nodes(plan.program, 1, LIFETIME, key_publish_lead="24h", key_rotation_period="30days")


def rv6_sl2_sl3_every_reader_refuses_in_time_what_is_revoked(plan):
    """Two nodes, of which one is killed every 5 s, ten of our verifiers, half of them behind nginx, and two libraries of other people. At the end,
    each list is repeated as it was at first."""
    random.seed(18)
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        status_lists.prepare_all(Path(plan.page).read_text(), work)
        nodes = stack.enter_context(nodes_of(plan))
        front = Front(nodes.addresses, stack.enter_context(cache_before(nodes)))
        running = [(library, stack.enter_context(library.running(nodes.issuer, AUDIENCE, LONGEST_RUN))) for library in status_lists.LIBRARIES]
        drill = Drill(nodes, front, plan, work)
        asyncio.run(drill.run([status_lists.Asked(library, *process) for library, process in running]))
    failures = show_readers(drill) + faults(drill)
    show_ways(drill)
    print(f"{drill.issued_count} tokens, {drill.issued_count / drill.loaded:.0f} a second; instead of some: {dict(drill.apps.others)}; a node was killed "
          f"{drill.killed} times; the cache answered {dict(front.from_cache)}; {sum(front.replayed.values())} old lists were served, with which a "
          f"new verifier accepted {drill.trusting} revoked tokens", flush=True)
    assert not failures, "\n".join(failures)
    return (f"{len(drill.watches)} revoked tokens; of {drill.verified} others, each checked when it was issued, none was refused without a reason, and "
            f"{drill.siblings} had the position of a revoked one; so had {drill.sibling_tokens} of {drill.asked_again} that were checked again; "
            f"{drill.born_revoked} were issued as revoked; clients went on within {max(drill.went_on, default=0):.1f} s; what the drill itself "
            f"does was late by {drill.latest:.2f} s at most")


def show_readers(drill):
    rows, failures = [], []
    for reader in drill.readers:
        times = times_of(reader, drill.watches)
        rows.append([reader.title, f"{reader.bound} s", *times.row()])
        failures += [f"{reader.title} accepted a token {seconds:.1f} s after `{way}`" for way, seconds in times.alive[:3]]
        failures += [f"{reader.title} never refused a token that `{way}` had revoked" for way in times.never[:3]]
        if times.unknown > UNKNOWN * max(1, len(times.seconds)):
            failures.append(f"{reader.title} was asked up to {times.latest:.1f} s late, so that {times.unknown} times are not known: lower the rate")
    print("seconds from the answer to the revocation until an instance refused the token")
    table(["reader", "bound", "refusals", "median", "p90", "p99", "max", "accepted after the bound", "never refused", "not known", "asked late by at most (s)"], rows)
    return failures


def show_ways(drill):
    by_way = collections.defaultdict(list)
    for watch in drill.watches:
        by_way[watch.event.kind].append(watch)
    rows = [[way, len(watches), *distribution(seconds_until_all(drill.readers, watches))] for way, watches in sorted(by_way.items())]
    rows.append(["all", len(drill.watches), *distribution(seconds_until_all(drill.readers, drill.watches))])
    print("seconds until every reader refused it")
    table(["revoked by", "tokens", "median", "p90", "p99", "max"], rows)


def faults(drill):
    found = [f"refused, and no one revoked it: {it}" for it in drill.unexplained[:5]] + drill.wrong[:5] + drill.faults[:5]
    for happened, what in [
        (drill.verified, "no token was verified"),
        (drill.killed, "no node was killed"),
        (drill.went_on, "no client went on"),
        (drill.front.from_cache["HIT"], "the cache answered nothing by itself"),
        (drill.trusting, "the old lists show the revocations: to repeat them proves nothing"),
    ]:
        found += [] if happened else [what]
    return found


def rv6_rv7_tokens_that_are_revoked_after_use_take_few_others_along(plan):
    """One node, then two; a client revokes each of its tokens when an API has introspected it. Then the revocations expire."""

    async def whole(nodes):
        return await revoke_after_use(nodes, plan.used_rate, plan.used_seconds), await delete_expired(nodes)

    with nodes_of(plan) as nodes:
        done, (deleted, seconds) = asyncio.run(whole(nodes))
    failures, rows = [], []
    for number, (used, spans) in enumerate(done, 1):
        count, share = len(used.revoked), used.siblings_later / max(1, used.later)
        widths = [width for width, *_ in spans]
        current = next(((width, revoked) for width, is_current, revoked in spans if is_current), (0, 0))
        rows.append([number, used.turn, f"{used.turn / used.seconds:.0f}", used.siblings, f"{used.siblings_later} ({share:.2%})", " → ".join(map(str, widths))])
        if number == 1 and used.siblings:
            failures.append(f"with one node, {used.siblings} tokens were refused for others")
        if number == 2 and share > SIBLINGS:
            failures.append(f"with two nodes, {share:.2%} of the tokens were refused for others")
        if used.unexplained or used.alive:
            failures.append(f"{used.unexplained} tokens were refused without a reason, {used.alive} were active after they were revoked")
        # A span ends when half of it is revoked.
        if current[1] * 2 > current[0] or count >= widths[0] and len(widths) < 2:
            failures.append(f"the span did not grow: {spans}, {count} revoked positions")
        if current[0] > WIDEST:
            failures.append(f"the span is wider than {WIDEST}: {spans}")
    table(["nodes", "tokens", "a second", "refused because another was revoked", f"after the first {FIRST_SECONDS} s", "positions of the client"], rows)
    if max(deleted) > DELETED_TOGETHER:
        failures.append(f"{max(deleted)} rows were deleted by one statement")
    assert not failures, "\n".join(failures)
    return f"{sum(deleted)} revocations that had expired were deleted within {seconds:.0f} s, by {len(deleted)} statements, {max(deleted)} at most by one"


ROWS = [rv6_sl2_sl3_every_reader_refuses_in_time_what_is_revoked, rv6_rv7_tokens_that_are_revoked_after_use_take_few_others_along]


def main():
    parser = argparse.ArgumentParser(prog="tests/revocation/run", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    for name in ["program", "many_verifiers", "page"]:
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--short", action="store_true", help="lower numbers, for a run of one or two minutes per row")
    for name, default, what in [
        ("rate", 300, "tokens per second, of both nodes together"),
        ("seconds", 270, "within which everything is revoked"),
        ("verifiers", 10, "instances of our verifier, half of them behind the cache"),
        ("tokens", 500, "tokens that are revoked one by one"),
        ("clients", 50, "clients whose tokens are revoked"),
        ("users", 50, "users whose tokens are revoked"),
        ("logins", 50, "logins that are ended"),
        ("used-rate", 100, "tokens per second of the client that revokes each after use"),
        ("used-seconds", 60, "for which it does so with two nodes, and half of it with one"),
    ]:
        parser.add_argument(f"--{name}", type=int, default=default, help=what)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=" or ".join(row.__name__ for row in ROWS))
    if "--short" in sys.argv:
        parser.set_defaults(**SHORT)
    plan = parser.parse_intermixed_args()
    if plan.verifiers < 2:
        parser.error("--verifiers: two at least, one of them behind the cache")
    run("revocation", ROWS, plan, plan.rows)


main()
