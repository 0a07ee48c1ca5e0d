"""Users sign in while attackers guess passwords."""

import collections
import threading
import time

from world import Server, load, ms, percentile

HOME = "198.51.100.7"


def guess(server, client, name, address):
    return server.token(client, grant_type="password", username=name, password="wrong", user_address=address)[0]


def signs_in(server, client, address, every, seconds):
    """How often alice signed in, and how long it took."""
    got_in, took = [], []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        status, _, _, seconds_taken = server.sign_in(client=client, user_address=address)
        got_in.append(status == 200)
        took.append(seconds_taken)
        time.sleep(max(0, began + every - time.monotonic()))
    return got_in, took


def hd5_a_visitor_who_guesses_25_times_a_second_does_not_lock_the_user_out(program):
    """25 wrong passwords a second for alice from strangers' addresses: she signs in from her known source, and the strangers stay limited."""
    server = Server(program)
    try:
        assert server.sign_in(user_address=HOME)[0] == 200
        done, guesses = threading.Event(), collections.Counter()

        def attack():
            for number in range(10**9):
                if done.is_set():
                    return
                began = time.monotonic()
                guesses[guess(server, "shop", "alice", f"203.0.113.{number % 250}")] += 1
                time.sleep(max(0, began + 0.04 - time.monotonic()))

        attacker = threading.Thread(target=attack)
        attacker.start()
        try:
            time.sleep(2)
            got_in, took = signs_in(server, "shop", HOME, 0.5, 15)
            stranger = server.sign_in(user_address="203.0.113.251")[0]
        finally:
            done.set()
            attacker.join()
        assert all(got_in), got_in
        assert stranger == 429, stranger
        # Ten at first, and one in ten seconds.
        assert guesses[400] <= 13 and guesses[429] > 200, guesses
        return f"{sum(got_in)} of {len(got_in)} sign-ins, p99 {ms(percentile(took, 0.99))}; guesses: {dict(guesses)}"
    finally:
        server.remove()


def spraying(program, **settings):
    """90 threads try random names through one app; alice signs in through another."""
    server = Server(program, **settings)
    try:
        assert server.sign_in(client="cold")[0] == 200
        counter = iter(range(10**9))
        attack = lambda: guess(server, "shop", f"user{next(counter)}", f"203.0.113.{next(counter) % 3}")
        with load(attack, 90) as (guesses, errors):
            time.sleep(2)
            got_in, took = signs_in(server, "cold", HOME, 0.5, 15)
        assert not errors, errors[:3]
        share = sum(got_in) / len(got_in)
        assert share >= 0.95, f"{sum(got_in)} of {len(got_in)} got in"
        limited = server.metric('sealwright_attempts_limited_total{kind="password_source"}')
        return share, collections.Counter(guesses), limited, percentile(took, 0.99)
    finally:
        server.remove()


def hd6_ninety_guessers_leave_users_of_another_app_their_share_of_the_hashing(program):
    """No limit stops the guessers, so that only the queue is tested."""
    share, guesses, _, took = spraying(program, failed_attempts_per_source=10000, failed_attempts_per_client=100000)
    assert guesses[503] > 0, "the queue never was full: nothing was tried"
    return f"{share:.0%} got in, p99 {ms(took)}; guesses: {dict(guesses)}"


def hd6_ninety_guessers_are_limited_by_source_and_that_is_counted(program):
    """Three sources may fail 20 times each, and 20 times in 100 s after that."""
    share, guesses, limited, took = spraying(program, failed_attempts_per_source=20)
    assert guesses[400] < 100 and limited > 0, (guesses, limited)
    return f"{share:.0%} got in, p99 {ms(took)}; guesses: {dict(guesses)}"


def hd5_hd6_a_hundred_addresses_do_not_keep_the_known_users_of_the_same_app_out(program):
    """More addresses than the queue has places, each with one guess at a time; alice signs in from her known source. No limit stops the guessers."""
    server = Server(program, failed_attempts_per_source=10000, failed_attempts_per_client=100000)
    try:
        assert server.sign_in(user_address=HOME)[0] == 200
        counter = iter(range(10**9))

        def attack():
            number = next(counter)
            return guess(server, "shop", f"user{number}", f"203.0.113.{number % 250}")

        with load(attack, 100) as (guesses, errors):
            time.sleep(2)
            got_in, took = signs_in(server, "shop", HOME, 0.5, 15)
            strangers = collections.Counter(server.sign_in(user_address=f"192.0.2.{number}")[0] for number in range(20))
        assert not errors, errors[:3]
        guesses = collections.Counter(guesses)
        assert guesses[503] > 0, "the queue never was full: nothing was tried"
        assert all(got_in), f"{sum(got_in)} of {len(got_in)} got in"
        return f"{len(got_in)} of {len(got_in)}, p99 {ms(percentile(took, 0.99))}; from new addresses: {dict(strangers)}; guesses: {dict(guesses)}"
    finally:
        server.remove()


def op12_sixteen_right_sign_ins_of_one_user_at_once(program):
    """All of them sign in."""
    server = Server(program)
    try:
        statuses = []
        threads = [threading.Thread(target=lambda: statuses.append(server.sign_in()[0])) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [200] * 16, statuses
        return "16 of 16"
    finally:
        server.remove()
