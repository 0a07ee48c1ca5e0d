"""Each gateway admits requests by the answers of the guard, in front of an API in Python and of one in Node."""

import base64
import contextlib
import dataclasses
import json

from asking import CLOSED, ask, bearer
from gateways import CADDY, ENVOY, HAPROXY, NGINX, TRAEFIK
from party import api, decisions, guard, guard_that_admits, hostile_issuer, rules
from requests_of_attackers import FORGED_DESCRIPTIONS, METHODS, OTHER_REFUSED, TARGETS, TOKEN_HEADERS, spellings
from world import Server, free_port

# An address without a listener, as when the issuer is down.
NO_ISSUER = "http://127.0.0.1:9"
# What each gateway takes as one header by default.
COMMON_HEADER_LIMIT = 8_000


def same_for_an_api(name):
    """A name as CGI, WSGI and Rack write it."""
    return "".join(letter if letter.isalnum() else "_" for letter in name.upper())


def token_headers(received):
    """The headers about the caller that an API finds in a request, by any spelling."""
    names = {same_for_an_api(name): name for name in TOKEN_HEADERS}
    found = [(names[same_for_an_api(name)], value) for name, value in received["headers"] if same_for_an_api(name) in names and value]
    assert len(dict(found)) == len(found), f"a header is there twice: {found}"
    named = [value for name, value in received["headers"] if name.lower() == "connection" and "token" in value.lower()]
    assert not named, f"the next proxy would remove a header of the guard: {named}"
    found = dict(found)
    for name, value in received.get("names", {}).items():
        if name.removeprefix("HTTP_") in names and value:
            assert found[names[name.removeprefix("HTTP_")]] == value, f"{name}: {value}"
    return found


def said_by(token):
    """What the API must learn of a token."""
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return dict(zip(TOKEN_HEADERS, [claims["sub"], claims["client_id"], claims["scope"], claims["iss"], payload]))


class Drill:
    """One gateway in front of one API. Every method returns how many requests it sent."""

    def __init__(self, gateway, port, api, rules, good, hostile):
        self.gateway, self.port, self.api, self.rules = gateway, port, api, rules
        self.good, self.hostile = good, hostile

    def ask(self, target, headers=(), **more):
        answer = ask(self.port, target, headers, **more)
        return answer, self.api.received()

    def _refused(self, what, answer, received, statuses):
        assert not received, f"{what}: it reached the API: {received}"
        assert answer.status in statuses, f"{what}: {answer}"

    def good_tokens_are_admitted(self):
        for token in self.good:
            answer, received = self.ask("/orders/1?a=b%2Fc&d", [bearer(token), "Accept: text/plain"])
            assert (answer.status, answer.body) == (200, "in"), answer
            [request] = received
            assert (request["method"], request["target"]) == ("GET", "/orders/1?a=b%2Fc&d"), request
            assert token_headers(request) == said_by(token), request
            assert not any(token in value for _, value in request["headers"]), "the token does not reach the API"
        answer, received = self.ask("/public/1")
        assert answer.status == 200 and token_headers(received[0]) == {}, received
        return len(self.good) + 1

    def bodies_pass(self):
        self.hostile.process.stdin.write(json.dumps({"scope": "orders:write"}) + "\n")
        self.hostile.process.stdin.flush()
        token = self.hostile.process.stdout.readline().strip()
        chunked = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in [b"one ", b"x" * 70_000, b""])
        for headers, body, expected in [
            (["Content-Length: 9"], b"one order", "one order"),
            (["Transfer-Encoding: chunked"], chunked, "one " + "x" * 70_000),
        ]:
            answer, received = self.ask("/orders", [bearer(token), *headers], method="POST", body=body)
            assert answer.status == 200 and received[0]["body"] == expected, answer
            answer, received = self.ask("/orders", [bearer(self.good[0]), *headers], method="POST", body=body)
            self._refused("a body without the scope", answer, received, [403])
        return 4

    def websockets_are_checked_and_pass(self):
        upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
        answer, received = self.ask("/orders/1", [bearer(self.good[0]), *upgrade])
        assert answer.status == 101 and token_headers(received[0]) == said_by(self.good[0]), answer
        answer, received = self.ask("/orders/1", upgrade)
        self._refused("a WebSocket without a token", answer, received, [401])
        return 2

    def other_tokens_are_refused(self):
        answer, received = self.ask("/orders/1")
        self._refused("no token", answer, received, [401])
        assert answer.headers["www-authenticate"] == "Bearer", answer
        for token in self.hostile.without_scope:
            answer, received = self.ask("/orders/1", [bearer(token["token"])])
            self._refused(token["name"], answer, received, [403])
            assert 'error="insufficient_scope"' in answer.headers["www-authenticate"], answer
        for token in self.hostile.hostile:
            answer, received = self.ask("/orders/1", [bearer(token["token"])])
            arrives = token["in_header"] == "unchanged" and len(token["token"]) < COMMON_HEADER_LIMIT
            self._refused(token["name"], answer, received, [400, 401] if arrives else [CLOSED, *range(400, 500)])
            if answer.status == 401:
                challenges = answer.headers.get_all("www-authenticate")
                assert len(challenges) == 1 and challenges[0].startswith("Bearer"), answer
        return 1 + len(self.hostile.without_scope) + len(self.hostile.hostile)

    def callers_cannot_write_what_the_guard_says(self):
        sent = 0
        token = self.good[0]
        for target, headers, expected in [("/orders/1", [bearer(token)], said_by(token)), ("/public/1", [], {})]:
            for name in TOKEN_HEADERS:
                for spelled in spellings(name):
                    forged, named = f"{spelled}: evil", f"Connection: close, {spelled}"
                    for lines in [[forged], [forged, forged], [forged, named], [named, forged], [named]]:
                        answer, received = self.ask(target, [*headers, *lines])
                        sent += 1
                        if answer.status == 200:
                            assert token_headers(received[0]) == expected, f"{lines}: {received}"
                        else:
                            self._refused(lines, answer, received, range(400, 500))
                        # The guard sees it. If `Connection` names it, some gateways remove it before the check.
                        assert named in lines or spelled.lower() != name.lower() or answer.status == 400, f"{lines}: {answer}"
            # What was refused was so for these headers.
            answer, received = self.ask(target, headers)
            sent += 1
            assert answer.status == 200 and token_headers(received[0]) == expected, f"{target} without them: {answer}"
        return sent

    def the_gateway_replaces_the_headers_of_the_caller(self, said):
        """Behind a guard that refuses nothing."""
        sent, expected = 0, {name: value for name, value in said.items() if value}
        for name in TOKEN_HEADERS:
            for forged in [f"{name}: evil", f"{name.lower()}: evil", f"{name.upper()}: evil"]:
                for lines in [[forged], [forged, forged]]:
                    answer, received = self.ask("/orders/1", lines)
                    assert answer.status == 200 and token_headers(received[0]) == expected, f"{lines}: {received}"
                    sent += 1
        return sent

    def callers_cannot_write_what_the_guard_is_asked(self):
        for lines in FORGED_DESCRIPTIONS:
            answer, received = self.ask("/orders/1", lines)
            self._refused(lines, answer, received, range(400, 500))
        for lines in OTHER_REFUSED:
            answer, received = self.ask("/public/1", [line.format(token=self.good[0]) for line in lines])
            self._refused(lines, answer, received, range(400, 500))
        return len(FORGED_DESCRIPTIONS) + len(OTHER_REFUSED)

    def each_path_is_decided_as_the_api_gets_it(self):
        for target in TARGETS:
            for headers, allowed in [([], ["public"]), ([bearer(self.good[0])], ["public", "token"])]:
                answer, received = self.ask(target.format(port=self.port), headers)
                for request in received:
                    decision = self.rules.decide(request["method"], request["target"])
                    assert decision in allowed, f"{target}: the API got {request['target']}, which is {decision}"
                if not received:
                    self._refused(target, answer, received, range(400, 500))
        for method, target in METHODS:
            answer, received = self.ask(target, [bearer(self.good[0])], method=method)
            # `OPTIONS *` is about the gateway itself, and Caddy and Traefik answer it.
            self._refused(f"{method} {target}", answer, received, range(400, 600) if target != "*" else [200, *range(400, 600)])
        return 2 * len(TARGETS) + len(METHODS)

    def a_guard_that_is_down_admits_nothing(self):
        sent = [(target, headers) for target in ["/orders/1", "/public/1"] for headers in [[], [bearer(self.good[0])]]]
        for target, headers in sent:
            answer, received = self.ask(target, headers)
            self._refused(f"the guard is down, {target}", answer, received, range(500, 600))
        return len(sent)

    def a_guard_without_keys_is_a_503(self):
        answer, received = self.ask("/orders/1", [bearer(self.good[0])])
        self._refused("no keys", answer, received, [503])
        assert answer.headers["retry-after"], answer
        assert self.ask("/public/1")[0].status == 200
        return 2


def admits(gateway, program):
    """Every drill, with both APIs. Returns the figures."""
    server = Server(program)
    try:
        answers = [server.token(), server.sign_in()]
        good = [json.loads(answer[2])["access_token"] for answer in answers]
        sent = 0
        with (
            hostile_issuer(program) as hostile,
            rules(program, [server._event("serving")["issuer"], hostile.issuer]) as known,
            rules(program, [NO_ISSUER]) as unknown,
        ):
            good += [token["token"] for token in hostile.good]
            for language in ["Python", "Node"]:
                guard_port = free_port()
                with api(language) as behind, contextlib.ExitStack() as running:
                    with guard(program, known, gateway.kind, guard_port):
                        port = running.enter_context(gateway.running(guard_port, behind.port))
                        drill = Drill(gateway, port, behind, known, good, hostile)
                        sent += drill.good_tokens_are_admitted()
                        sent += drill.bodies_pass()
                        if gateway.websockets and language == "Node":
                            sent += drill.websockets_are_checked_and_pass()
                        sent += drill.other_tokens_are_refused()
                        sent += drill.callers_cannot_write_what_the_guard_says()
                        sent += drill.callers_cannot_write_what_the_guard_is_asked()
                        sent += drill.each_path_is_decided_as_the_api_gets_it()
                    sent += drill.a_guard_that_is_down_admits_nothing()
                    with guard(program, unknown, gateway.kind, guard_port):
                        sent += drill.a_guard_without_keys_is_a_503()
                    for said in [dict.fromkeys(TOKEN_HEADERS, "of-the-guard"), dict.fromkeys(TOKEN_HEADERS, "")]:
                        with guard_that_admits(said, guard_port):
                            sent += drill.the_gateway_replaces_the_headers_of_the_caller(said)
        return f"{gateway.name} {gateway.version_text()}: {len(hostile.hostile)} hostile tokens refused before each API; {sent} requests"
    finally:
        server.remove()


def gd1_nginx_admits_what_the_guard_admits_and_nothing_else(program):
    """nginx passes on good tokens' requests with what the guard says about the caller, and no other request."""
    return admits(NGINX, program)


def gd1_caddy_admits_what_the_guard_admits_and_nothing_else(program):
    """Caddy passes on good tokens' requests with what the guard says about the caller, and no other request."""
    return admits(CADDY, program)


def gd1_haproxy_admits_what_the_guard_admits_and_nothing_else(program):
    """HAProxy passes on good tokens' requests with what the guard says about the caller, and no other request."""
    return admits(HAPROXY, program)


def gd1_haproxy_admits_nothing_if_the_script_fails(program):
    """An error in the script of HAProxy refuses every request, also a good one."""
    broken = dataclasses.replace(HAPROXY, replaced={"    -- Each is a list": '    if txn.f:path() == "/orders/1" then error("broken") end\n    -- Each is a list'})
    with hostile_issuer(program) as hostile, rules(program, [hostile.issuer]) as known, api("Node") as behind:
        with guard(program, known, broken.kind) as guard_port, broken.running(guard_port, behind.port) as port:
            good = bearer(hostile.good[0]["token"])
            assert ask(port, "/orders/2", [good]).status == 200 and len(behind.received()) == 1
            for headers in [[], [good]]:
                answer = ask(port, "/orders/1", headers)
                assert answer.status == 503 and not behind.received(), answer
    return "2 refused"


def gd1_traefik_admits_what_the_guard_admits_and_nothing_else(program):
    """Traefik passes on good tokens' requests with what the guard says about the caller, and no other request."""
    return admits(TRAEFIK, program)


def traefik_with(middlewares, definitions):
    """Traefik with these middlewares, some of which are defined here."""
    replaced = {"[guard, without-token]": f"[{middlewares}]", "  middlewares:\n": f"  middlewares:\n{definitions}"}
    return dataclasses.replace(TRAEFIK, replaced=replaced)


def gd1_traefik_answers_for_a_dead_api_and_asks_again_before_each_attempt(program):
    """With `retry` before the guard, each attempt is checked, and the caller gets the answer of Traefik, not one of the guard."""
    repeating = traefik_with("repeated, guard, without-token", "    repeated: { retry: { attempts: 3, initialInterval: 1ms } }\n")
    management, checks = free_port(), 0
    with hostile_issuer(program) as hostile, rules(program, [hostile.issuer]) as known:
        good = bearer(hostile.good[0]["token"])
        with guard(program, known, TRAEFIK.kind, management=management) as guard_port, repeating.running(guard_port, free_port()) as port:
            for target, headers, outcome in [("/orders/1", [good], "allowed"), ("/public/1", [], "public"), ("/public/1", [good], "allowed")]:
                before = decisions(management, outcome)
                answer = ask(port, target, headers)
                assert answer.status == 502, f"{target}: {answer}"
                asked = decisions(management, outcome) - before
                assert asked == 3, f"{target}: asked {asked} times"
                checks += asked
    return f"3 requests, {checks} checks"


def gd1_a_second_guard_takes_the_headers_of_the_first_for_forged_unless_both_say_the_same(program):
    """Traefik asks two guards in sequence. If they differ, it must remove the headers of the first before it asks the second."""
    second = f"    second: {{ forwardAuth: {{ address: 'http://127.0.0.1:{{port}}/', authResponseHeaders: [{', '.join(TOKEN_HEADERS)}] }} }}\n"
    removed = ", ".join(f"{name}: ''" for name in TOKEN_HEADERS)
    definitions = f"{second}    without-headers: {{ headers: {{ customRequestHeaders: {{ {removed} }} }} }}\n"
    sent = 0
    with (
        hostile_issuer(program) as hostile,
        rules(program, [hostile.issuer]) as known,
        guard(program, known, TRAEFIK.kind) as first,
        api("Node") as behind,
    ):
        token = hostile.good[0]["token"]
        without_claims = {name: value for name, value in said_by(token).items() if name != "X-Token-Claims"}
        for settings, middlewares, status, expected in [
            ([], "guard, second, without-token", 200, said_by(token)),
            (["--claims-header", "off"], "guard, second, without-token", 400, None),
            (["--claims-header", "off"], "guard, without-headers, second, without-token", 200, without_claims),
        ]:
            with guard(program, known, TRAEFIK.kind, settings=settings) as other:
                with traefik_with(middlewares, definitions.replace("{port}", str(other))).running(first, behind.port) as port:
                    for target, headers, said in [("/orders/1", [bearer(token)], expected), ("/public/1", [], {})]:
                        answer, received = ask(port, target, headers), behind.received()
                        assert answer.status == status and len(received) == (status == 200), f"{settings} {middlewares} {target}: {answer}"
                        assert not received or token_headers(received[0]) == said, f"{middlewares}: {received}"
                        sent += 1
    return f"{sent} requests"


def gd1_envoy_admits_what_the_guard_admits_and_nothing_else(program):
    """Envoy passes on good tokens' requests with what the guard says about the caller, and no other request."""
    return admits(ENVOY, program)
