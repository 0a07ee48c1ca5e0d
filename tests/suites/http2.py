"""h2spec: HTTP/2 (RFC 7540, which RFC 9113 has replaced) and HPACK (RFC 7541)."""
# needs: go=golang-go

import http.server
import os
import subprocess
import tempfile
import threading
import xml.etree.ElementTree

from targets import OPEN_PATH, authority, guarded, served

# How many cases this version of h2spec has. A run of fewer shows nothing.
CASES = 146
# How long a case waits for a frame, in seconds. Only one that fails waits for so long.
PATIENCE = 10
# How often a case is run again that lost a race.
REPEATS = 30

# What h2spec objects to, by its number for the case, and why it stands.
WITHOUT_TLS = {
    "http2/3.5/2": "Without TLS, the first bytes say which HTTP a connection is in. Those that are not the preface of HTTP/2 are a request in "
    "HTTP/1.1: this one is answered with 400, and the connection is closed. h2spec expects frames, and cannot read the 400.",
}


def run_h2spec(port, *flags):
    """The cases that ran and the cases that failed, with what h2spec says, by their numbers."""
    with tempfile.NamedTemporaryFile() as report:
        command = [os.environ["H2SPEC"], "--strict", "--timeout", str(PATIENCE), "--junit-report", report.name, "--port", str(port), *flags]
        done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
        written = report.read()
    assert written, f"no report:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    suites = xml.etree.ElementTree.fromstring(written)
    cases = {f"{suite.get('package')}/{number}": case for suite in suites for number, case in enumerate(suite.findall("testcase"), 1)}
    skipped = [number for number, case in cases.items() if case.find("skipped") is not None]
    assert cases and not skipped, f"skipped: {skipped}\n{done.stdout[-3000:]}"
    objections = {number: case.find("error") if case.find("failure") is None else case.find("failure") for number, case in cases.items()}
    failed = {number: "".join(said.itertext()).strip() for number, said in objections.items() if said is not None}
    assert bool(failed) == (done.returncode != 0), f"the report and the exit code differ:\n{done.stdout[-3000:]}"
    return cases, failed


def lost_a_race(said):
    """Whether the answer had ended when the invalid frame arrived: by END_STREAM, or by RST_STREAM because the rest of the request is not needed.
    RFC 9113 section 8.1 allows both. h2spec expects that the invalid frame arrives first, although the server answers the request at once."""
    actual = said.splitlines()[-1]
    return actual.startswith("RST_STREAM Frame (length:4,") or actual.startswith("DATA Frame (") and "flags:0x01" in actual


def passes_alone(number, port, *flags):
    """Whether a case that lost the race passes when it wins it."""
    for _ in range(REPEATS):
        cases, failed = run_h2spec(port, *flags, number)
        assert len(cases) == 1, f"{number} alone runs {len(cases)} cases"
        if not failed:
            return True
        if not all(map(lost_a_race, failed.values())):
            return False
    return False


def examine(deviations, port, *flags):
    """Fails on an objection that has no argument, and on an argument for nothing. Returns figures."""
    cases, failed = run_h2spec(port, *flags)
    assert len(cases) == CASES, f"{len(cases)} cases ran"
    again = [number for number, said in failed.items() if lost_a_race(said) and passes_alone(number, port, *flags)]
    failed = {number: said for number, said in failed.items() if number not in again}
    unexplained = {number: said for number, said in failed.items() if number not in deviations}
    assert not unexplained, "\n".join(f"{number}: {said}" for number, said in unexplained.items())
    assert set(deviations) <= set(failed), f"no deviation any more: {set(deviations) - set(failed)}"
    return f"{CASES - len(failed)} of {CASES} cases pass" + (f", of which alone: {', '.join(again)}" if again else "")


class WithoutHttp2(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass


def h2spec_fails_at_a_server_without_http2(_):
    """What reads its results can fail."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), WithoutHttp2) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            cases, failed = run_h2spec(server.server_address[1])
        finally:
            server.shutdown()
    assert len(cases) == CASES and len(failed) > CASES / 2, f"{len(failed)} of {len(cases)} fail"
    return f"{len(failed)} of {CASES} cases fail"


def h2spec_passes_at_the_public_listener(program):
    """Every case passes or has an argument."""
    with served(program) as server:
        return examine(WITHOUT_TLS, server.address[1], "--path", OPEN_PATH)


def h2spec_passes_at_the_public_listener_with_tls(program):
    """Every case passes."""
    with authority() as files, served(program, tls_cert=files.chain, tls_key=files.key) as server:
        return examine({}, server.address[1], "--path", OPEN_PATH, "--tls", "--insecure")


def h2spec_passes_at_the_guard(program):
    """Every case passes or has an argument."""
    with guarded(program) as (started, _):
        return examine(WITHOUT_TLS, started.address.rpartition(":")[2])


def h2spec_passes_at_the_guard_with_tls(program):
    """Every case passes."""
    with authority() as files, guarded(program, tls_cert=files.chain, tls_key=files.key) as (started, _):
        return examine({}, started.address.rpartition(":")[2], "--tls", "--insecure")
