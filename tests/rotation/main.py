"""Rotates keys under load, asks other people's libraries and ours about every token, and prints a table per run.

usage: main.py SEALWRIGHT MANY_VERIFIERS
"""

import asyncio
import os
import random
import sys
import tempfile
import time
import traceback

from drill import Drill
from libraries import OUR_SHARE, OUR_VERIFIERS, build_all
from nodes import Nodes
from rows import table

ROTATIONS = int(os.environ.get("ROTATION_ROTATIONS", 200))
RATE = int(os.environ.get("ROTATION_RATE", 300))
# The shortest lead, of two hours, becomes 5 s, the longest max-age, of an hour, 2 s, and the longest lifetime of a token, of a day, a minute.
DIVISOR = 1440
LEAD = 7200 / DIVISOR
# The shortest period, of a day, becomes a minute: that long the first keys sign, whose successors are not asked for.
PERIOD, AUTOMATIC = 86400 / DIVISOR, 2
# Seconds before each surprise of the second run: before the first, all libraries have fetched the keys and waited for their pauses.
SURPRISES = [35, 35, 15, 10, 5]


def many(refused):
    return sum(instances for *_, instances, _ in refused)


async def rotate(nodes, built, rotations, rate, **more):
    random.seed(17)
    probes, starts = [], []
    async with Drill(nodes, built, rate, **more) as drill:
        await drill.key(0, 30)
        for rotation in range(1, AUTOMATIC + 1):
            await drill.key(rotation, PERIOD + 4 * LEAD)
        # One more at the end. After a compromise in which the next key was published already, no unknown `kid` makes anybody fetch: libraries that
        # keep keys without end drop the compromised one only when the key after that signs.
        for rotation in range(1, rotations + 2):
            if rotation % 10 == 0:
                probes += await drill.compromise(45)
            else:
                await nodes.rotate()
            if rotation % 10 == 5:
                # In the middle: the next key is published, and does not sign yet.
                await asyncio.sleep(random.uniform(0, LEAD / 2))
                starts.append(asyncio.create_task(nodes.kill_and_restart(rotation // 10 % 2)))
            await drill.key(AUTOMATIC + rotation, 10 * LEAD)
            if rotation % 20 == 0:
                print(f"{rotation} of {rotations} rotations, {len(drill.token_at)} tokens", file=sys.stderr, flush=True)
        await asyncio.gather(*starts, *probes)
    return drill


def ky5_jk2_jk3_jk5_200_rotations_refuse_no_valid_token(program, built):
    """Two nodes, of which one is killed in every tenth rotation; in another tenth, the key is compromised. The first ones are automatic, the
    others are asked for."""
    with Nodes(program, DIVISOR, "60s", key_publish_lead="2h", key_rotation_period="1day") as nodes:
        drill = asyncio.run(rotate(nodes, built, ROTATIONS, RATE))
    rows, failures = [], []
    for verifying in drill.libraries:
        library, counts = verifying.library, drill.counts[verifying]
        planned, unplanned = (drill.refused_valid(verifying, unplanned) for unplanned in [False, True])
        rows.append([library.title, library.compressed, counts.verified, counts.old, many(planned), many(unplanned), drill.dropped(verifying, 45)])
        # A library that does not fetch at an unknown `kid` cannot know a key that comes without a lead.
        failures += [f"{library.name} refused {it}" for it in (planned + unplanned if library.fetches else planned)][:3]
        if counts.verified < 0.5 * verifying.asked or verifying.skipped > verifying.asked:
            failures.append(f"{library.name} answered {counts.verified}, skipped {verifying.skipped}")
        if not set(drill.revoked(verifying)) <= counts.dropped.keys():
            failures.append(f"{library.name} went on to accept a compromised key")
    revoked = drill.revoked()
    still = max((drill.published.get(kid, 0) - drill.keys[kid].revoked_at for kid in revoked), default=0)
    if len(drill.kids) <= AUTOMATIC + ROTATIONS or len(revoked) < ROTATIONS // 10:
        failures.append("not all keys were rotated or revoked")
    print(f"{len(drill.kids) - 1} rotations, {len(revoked)} of them compromised; times divided by N = {DIVISOR}")
    table(["library", "keys are cached", "tokens verified", "of them shortly before they expire", "valid tokens refused", "refused after a compromise",
           "seconds until the compromised key was refused"], rows)
    print(f"each token was verified by every library, and by {OUR_SHARE} of the {OUR_VERIFIERS} instances of ours in turn; "
          f"skipped: {sum(verifying.skipped for verifying in drill.libraries)}")
    failures += drill.early()
    failures += [f"a revoked key was published for {still:.1f} s"] if still > 2 else []
    failures += drill.stalled(0.5)
    assert not failures, "\n".join(failures)
    return (f"{len(drill.token_at)} tokens, {drill.rate():.0f} a second, longest pause "
            f"{drill.apps.longest_gap:.1f} s; max-age {min(drill.max_ages)} to {max(drill.max_ages)} s; "
            f"a revoked key left the JWKS after {still:.1f} s; a key signed {drill.latest:.1f} s at most before a cached JWKS without it expired; other answers to apps: {dict(drill.apps.others)}")


def jk4_three_rotations_at_500_tokens_a_second_fail_no_verification(program, built):
    """Our verifiers alone, one for each token, and two nodes. The rate is the row's: a machine that does not reach it fails."""
    with Nodes(program, DIVISOR, "60s", key_publish_lead="2h", key_rotation_period="1day") as nodes:
        # At first, all verifiers fetch the keys, while tokens wait.
        drill = asyncio.run(rotate(nodes, built[:1], 1, 500, longest_queue=5000))
    [verifying] = drill.libraries
    failures = [f"refused {it}" for it in drill.refused_valid(verifying, False)][:3]
    failures += [f"{verifying.skipped} tokens were not verified"] if verifying.skipped else []
    failures += ["not all keys were rotated"] if len(drill.kids) <= 3 else []
    failures += drill.early() + drill.stalled(0.9)
    assert not failures, "\n".join(failures)
    return (f"{len(drill.kids) - 1} rotations, {len(drill.token_at)} tokens, {drill.rate():.0f} a second, "
            f"{drill.counts[verifying].verified / (drill.ended - drill.began):.0f} verifications a second")


async def surprise(nodes, built):
    probes = []
    async with Drill(nodes, built, RATE / 3) as drill:
        for number, pause in enumerate(SURPRISES, 1):
            await asyncio.sleep(pause)
            probes += await drill.compromise(300)
            await drill.key(number, 30)
        await asyncio.sleep(40)
        for probe in probes:
            probe.cancel()
    return drill


def ky5_a_key_that_comes_as_a_surprise_is_refused(program, built):
    """Keys that sign two seconds after they were published, and libraries that cache keys as they do by default. It shows that the other run
    can fail."""
    with Nodes(program, 1, "15m", key_publish_lead="24h", key_rotation_period="30days") as nodes:
        drill = asyncio.run(surprise(nodes, built))
    rows, refused = [], 0
    new = [kid for kid, key in drill.keys.items() if key.unplanned]
    asked = sum(drill.keys[kid].tokens for kid in new)
    for verifying in drill.libraries:
        valid = drill.refused_valid(verifying, True)
        hit = {kid for kid, *_ in valid}
        longest = max((at - drill.keys[kid].first_signed for kid, _, at, *_ in valid), default=0)
        share = many(valid) / max(1, drill.counts[verifying].unplanned)
        rows.append([verifying.library.title, verifying.library.rule, f"{many(valid)} ({share:.0%})", f"{len(hit)} of {len(new)}", f"{longest:.1f}",
                     drill.dropped(verifying, 40)])
        refused += many(valid)
    print(f"{len(new)} keys that came without a lead, {', '.join(map(str, SURPRISES))} s apart; {asked} tokens of them")
    table(["library", "keys are cached by default", "valid tokens refused", "keys of which tokens were refused", "for how long at most (s)",
           "seconds until the compromised key was refused"], rows)
    assert refused, "no library refused a key that it could not know: the drill does not measure what it should"
    return f"{refused} valid tokens refused, as expected"


ROWS = [
    jk4_three_rotations_at_500_tokens_a_second_fail_no_verification,
    ky5_jk2_jk3_jk5_200_rotations_refuse_no_valid_token,
    ky5_a_key_that_comes_as_a_surprise_is_refused,
]


def main():
    program, many_verifiers, *wanted = sys.argv[1:]
    failed, rows = 0, [row for row in ROWS if not wanted or row.__name__ in wanted]
    with tempfile.TemporaryDirectory() as root:
        built = build_all(root, many_verifiers)
        for row in rows:
            began = time.monotonic()
            try:
                figures = row(program, built)
                print(f"ok     {row.__name__} ({time.monotonic() - began:.0f} s): {figures}", flush=True)
            except Exception:
                failed += 1
                print(f"FAILED {row.__name__}: {row.__doc__}", flush=True)
                traceback.print_exc()
    print(f"rotation: {len(rows) - failed} passed, {failed} failed")
    sys.exit(1 if failed or not rows else 0)


main()
