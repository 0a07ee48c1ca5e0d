"""h2specd, which comes with h2spec: servers that each break HTTP/2 in one way. Here, each is the API behind a guard, which is its client."""

import concurrent.futures
import contextlib
import html
import http.client
import os
import re
import socket
import subprocess
import urllib.request

from auth_request import ended
from guarded import guard, issuer
from targets import RULES
from world import free_port, until

# How many servers this version of h2specd has.
CASES = 57
# How long one of them waits for a frame, in seconds. Only a case that fails waits for so long.
PATIENCE = 10

# What h2specd objects to, by its number for the case, and why it stands.
DEVIATIONS = {
    51: "The server gives more than the largest flow-control window to a request that has ended. Nothing is sent on that stream any more, and a "
    "WINDOW_UPDATE frame for it is ignored (RFC 9113 section 5.1, half-closed (local)).",
}


def free_ports(count):
    """The first of so many free ports in sequence."""
    for _ in range(100):
        first = free_port()
        with contextlib.suppress(OSError, OverflowError), contextlib.ExitStack() as held:
            for port in range(first, first + count):
                held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise AssertionError(f"no {count} free ports in sequence")


def answer(url):
    """The body, or `None` if the answer is an error or none."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with contextlib.suppress(OSError, http.client.HTTPException), opener.open(url, timeout=60) as opened:
        return opened.read().decode()


def results(report, first):
    """What the report says of each case that has run, by its number: `None` if it passed."""
    case = re.compile(r'<div><span[^>]*>(.*?)</span><a href="http://127\.0\.0\.1:(\d+)/"[^>]*>.*?</a>(.*?)</div>(.*?)(?=<div><span|<br>|\Z)', re.S)
    found = {}
    for mark, port, description, details in case.findall(report):
        if mark in "✔✖":
            said = " ".join(re.sub("<[^>]*>", "\n", html.unescape(details)).split())
            found[int(port) - first + 1] = None if mark == "✔" else f"{description}: {said}"
    return found


def h2spec_passes_at_the_client_of_the_guard(program):
    """Each server gets a request that a guard forwards. Every case passes or has an argument."""
    first, report = free_ports(CASES), free_port()
    command = [os.environ["H2SPECD"], "--port", str(report), "--from-port", str(first), "--timeout", str(PATIENCE)]
    with ended(subprocess.Popen(command, stdout=subprocess.DEVNULL)), issuer(program) as tokens:
        url = f"http://127.0.0.1:{report}/report"
        until(lambda: answer(url), 60, "h2specd listens")

        def ask(number):
            port = first + number - 1
            with guard(program, tokens, RULES, f"http://127.0.0.1:{port}", upstream_protocol="http2", upstream_answer_timeout="30s") as started:
                answer(f"{started.url}/")
                until(lambda: number in results(answer(url), first), 60, f"case {number} has run")

        with concurrent.futures.ThreadPoolExecutor(4) as several:
            list(several.map(ask, range(1, CASES + 1)))
        found = results(answer(url), first)
    failed = {number: said for number, said in found.items() if said}
    assert len(found) == CASES, f"{len(found)} cases ran"
    unexplained = {number: said for number, said in failed.items() if number not in DEVIATIONS}
    assert not unexplained, "\n".join(f"{number}: {said}" for number, said in sorted(unexplained.items()))
    assert set(DEVIATIONS) <= set(failed), f"no deviation any more: {set(DEVIATIONS) - set(failed)}"
    return f"{CASES - len(failed)} of {CASES} cases pass"
