"""No path is read in one way by `sealwright guard` and in another by the frameworks behind it, with which a request reaches a handler whose rule
it does not satisfy."""
# needs: go=golang-go

import collections
import contextlib
import http.client
import itertools
import pathlib
import queue
import socket
import subprocess
import sys
import threading
import urllib.parse

from auth_request import ended
from guarded import api, apis, guard, issuer, run_in
from world import free_port, until

ALICE = "alice"
RULES = """
[[rule]]
path = "/admin"
scope = "admin"

[[rule]]
path = "/admin/{*rest}"
scope = "admin"

[[rule]]
path = "/orders/{id}"
methods = ["GET", "POST"]
scope = "orders:read"

[[rule]]
path = "/orders/{id}"
methods = ["DELETE"]
scope = "orders:write"

[[rule]]
path = "/users/{id}"
owner = "id"

[[rule]]
path = "/"
public = true

[[rule]]
path = "/{*rest}"
public = true
"""
PATHS = ["/admin", "/admin/panel", "/orders/7", "/users/alice", "/users/bob"]


def escaped(path, form):
    """The path with its second character percent-encoded."""
    return path[0] + form.format(ord(path[1])) + path[2:]


def replaced(old, new):
    return lambda path: path.replace(old, new)


def last_slash(new):
    """Something in place of the last slash."""
    return lambda path: new.join(path.rsplit("/", 1)) if path.count("/") > 1 else path + new


def before(text):
    return lambda path: text + path


def after(text):
    return lambda path: path + text


def within(text):
    """Something after the first segment."""
    return lambda path: "/".join(part + text if place == 1 else part for place, part in enumerate(path.split("/")))


# What an API may ignore, decode, resolve or cut off.
CHANGES = [
    str.upper, str.title, str.swapcase, lambda path: path[0] + path[1].upper() + path[2:], lambda path: path[:-1] + path[-1].upper(),
    after("/"), after("//"), after("/."), after("/.."), after("/../"), after("/x/.."), after("/x/../"), after("/./"),
    before("/"), before("//"), before("/."), before("/./."), before("/x/.."), before("/x//.."), before("/.."), before("//x"), before("/%2e"),
    before("/x/%2e%2e"), before("/x/.%2E"), before("/%2e%2e"), before("/;"), before("/x;/.."), before("/x/..;"), before("/%2f"), before("/x%2f.."),
    before("/x/..%2f.."), before("\\"), before("/%5c"), before("/x/%252e%252e"), before("/%20"), before("/index.php"), before("/app.py"),
    before("/x/index.php"), before("/x%5c.."), before("/%00"), before("/+"), before("/~"), before("/."), before("/.;"), before("/\t"),
    last_slash("//"), last_slash("///"), last_slash("/./"), last_slash("/x/../"), last_slash("%2f"), last_slash("%2F"), last_slash("%5c"),
    last_slash("\\"), last_slash("%252f"), last_slash(";/"), last_slash("/;/"), last_slash("/;x=y/"), last_slash("/%2e/"), last_slash("/x/%2e%2e/"),
    last_slash("/%20/"), last_slash("%c0%af"), last_slash("%ef%bc%8f"), last_slash("%e2%81%84"), last_slash(":/"), last_slash("/:/"),
    after(";"), after(";x=y"), after(";/"), after(";/x"), after("%3b"), after("%3Bx=y"), after(".json"), after(".html"), after(".php"), after(".do"),
    after("."), after(".."), after("%2e"), after("%20"), after(" "), after("%09"), after("%0a"), after("%0d%0a"), after("%00"), after("%00.html"),
    after("+"), after("~"), after("#"), after("#x"), after("%23"), after("%23/x"), after("%3f"), after("%3Fx"), after("?"), after("?x"), after("??"),
    after("?/../x"), after("%2f"), after("%2f.."), after("%5c"), after("\\"), after("/%2e"), after("/%2e%2e"), after("/index.html"), after("/index"),
    after("/index.php"), after("::$DATA"), after("$"), after("*"), after("%"), after("%zz"), after("%u002f"), after("%ff"), after("%c3%28"),
    after("%e2%80%8b"), after("%c2%ad"), after(":"), after(","), after("!"), after("'"), after("|"), after("%7f"), after("\x7f"), after("%c2%a0"),
    within("%20"), within("."), within("%2e"), within(";x"), within("%00"), within("\xa0"), within("%e2%80%8b"), within(".json"), within("%09"),
    lambda path: escaped(path, "%{:02x}"), lambda path: escaped(path, "%{:02X}"), lambda path: escaped(path, "%25{:02x}"),
    lambda path: escaped(path, "%2525{:02x}"), lambda path: escaped(path, "%u{:04x}"), lambda path: escaped(path.upper(), "%{:02x}"),
    replaced("i", "%c4%b1"), replaced("i", "\u0131"), replaced("i", "%c4%b0"), replaced("s", "%c5%bf"), replaced("a", "%ef%bd%81"),
    replaced("a", "%61"), replaced("d", "%64"), replaced("e", "%65"), replaced("/", "%2f"), replaced("/", "\\"), replaced("/", "//"),
    before("http://localhost"), before("http://evil.example"), before("http://localhost/"), before("http://localhost/x/.."),
    before("HTTP://LOCALHOST"),
    before("x"), before("*"), before("?"), before("/?"), before("#"), before("//evil.example"), before("/http://localhost"),
]
METHODS = ["GET", "POST", "HEAD", "DELETE", "PUT", "OPTIONS"]
CALLERS = {"stranger": {}, "reader": {"scope": "orders:read"}, "alice": {"sub": ALICE}}
# With which header or query an API may take another method, or another path.
OVERRIDES = [
    *[(method, path, {name: "DELETE"})
      for method in ["GET", "POST"]
      for path in ["/orders/7", "/orders/7?x"]
      for name in ["X-HTTP-Method-Override", "x-http-method-override", "X-HTTP-Method", "X-Method-Override", "X_HTTP_Method_Override",
                   "X.HTTP.Method.Override", "X-HTTP_METHOD-Override", "X-Http-Method-Override-", "Method-Override", "Http-Method-Override"]],
    *[(method, f"/orders/7?{query}", {})
      for method in ["GET", "POST"]
      for query in ["_method=DELETE", "_method=delete", "%5fmethod=DELETE", "x=1&_method=DELETE", "x;_method=DELETE", "_method[]=DELETE",
                    "_METHOD=DELETE", "_method%00=DELETE", "+_method=DELETE", "_method=GET&_method=DELETE", "%5Fmethod%3DDELETE"]],
    *[(method, path, {name: value})
      for method in ["GET", "POST"]
      for path, value in [("/x", "/admin"), ("/", "/admin"), ("/x/admin", "/x"), ("/users/alice/admin", "/users/alice"), ("/x/users/bob", "/x")]
      for name in ["X-Original-URL", "X-Rewrite-URL", "X_Original_URL", "Script-Name", "SCRIPT_NAME", "Script_Name", "Path-Info", "PATH_INFO",
                   "Path_Info", "X-Script-Name", "X-Forwarded-Prefix", "X-Forwarded-Path", "X-Forwarded-Uri", "X-Forwarded-Script-Name", "Root-Path",
                   "Daphne-Root-Path", "Base-Url", "Request-Uri", "Destination", "X-Envoy-Original-Path", "X-Replaced-Path"]],
]


class Connection(http.client.HTTPConnection):
    """Sends what a caller can send, valid or not."""

    def _validate_path(self, _):
        pass

    def _validate_method(self, _):
        pass

    def _encode_request(self, request):
        return request.encode("utf-8")


class Caller:
    """A caller with a connection to one address."""

    def __init__(self, address):
        self.address, self.connection = address, None

    def ask(self, request, token=None):
        """The status, the handler, and whose data it serves; the guard's own refusals have no handler. `None` if there is no answer."""
        method, target, headers = request
        for fresh in [False, True]:
            # A server may close a connection that was idle, and does so after an invalid request.
            if fresh or self.connection is None:
                self.close()
                self.connection = Connection(*self.address, timeout=60)
            try:
                self.connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
                for name, value in {"Host": "localhost", **headers}.items():
                    self.connection.putheader(name, value)
                if token:
                    self.connection.putheader("Authorization", f"Bearer {token}")
                if method in ["POST", "PUT", "DELETE"]:
                    self.connection.putheader("Content-Length", "0")
                self.connection.endheaders()
                answer = self.connection.getresponse()
                answer.read()
                return answer.status, answer.getheader("x-handler"), urllib.parse.unquote(answer.getheader("x-id") or "")
            except (OSError, http.client.HTTPException):
                self.close()
        return None

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None


def all_answers(address, requests, callers=8):
    """The answers to requests, each with its token, in their order."""
    waiting, answers = queue.SimpleQueue(), [None] * len(requests)
    for place in range(len(requests)):
        waiting.put(place)

    def work():
        caller = Caller(address)
        with contextlib.suppress(queue.Empty):
            while True:
                place = waiting.get_nowait()
                answers[place] = caller.ask(*requests[place])
        caller.close()

    workers = [threading.Thread(target=work) for _ in range(callers)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return answers


def address_of(url):
    parts = urllib.parse.urlsplit(url)
    return parts.hostname, parts.port


def is_allowed(caller, answer):
    """Whether the rules let this caller reach the handler that answered."""
    _, handler, whose = answer
    return handler in [None, "public"] or (handler, caller) == ("read", "reader") or (handler, caller, whose) == ("user", "alice", ALICE)


def is_mistaken(request, answer):
    """Whether the handler that answered is one for another path or method than the request spells."""
    method, target, _ = request
    _, handler, whose = answer
    path = target.partition("?")[0]
    spells_another = path not in PATHS and not path.startswith("/admin/")
    return (spells_another and (handler == "admin" or whose in ["7", "alice", "bob"])) or (handler == "delete" and method != "DELETE")


@contextlib.contextmanager
def python_apis():
    """The frameworks for Python, each in a server with which it is used. Returns their ports by name."""
    folder = apis()
    run_in(folder, sys.executable, "-m", "venv", "venv")
    run_in(folder, "venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt")
    ports = {name: free_port() for name in ["Flask", "Django", "FastAPI"]}
    commands = [
        ["venv/bin/gunicorn", "--threads", "8", "--bind", f"127.0.0.1:{ports['Flask']}", "flask_paths:app"],
        ["venv/bin/gunicorn", "--threads", "8", "--bind", f"127.0.0.1:{ports['Django']}", "django_paths:app"],
        ["venv/bin/uvicorn", "--no-access-log", "--port", str(ports["FastAPI"]), "fastapi_paths:app"],
    ]
    with contextlib.ExitStack() as running:
        log = running.enter_context(open(folder / "python.log", "w"))
        for command, port in zip(commands, ports.values()):
            process = running.enter_context(ended(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)))

            def listens(process=process, port=port):
                assert process.poll() is None, pathlib.Path(log.name).read_text()
                with socket.socket() as caller:
                    return caller.connect_ex(("127.0.0.1", port)) == 0

            until(listens, 60, command[0])
        yield ports


@contextlib.contextmanager
def go_apis():
    folder = apis()
    run_in(folder / "go", "go", "build", "-o", "paths", ".")
    with api("go/paths") as ports:
        yield ports


def gd3_no_framework_reads_a_path_or_a_method_otherwise_than_the_guard(program):
    """13 frameworks, and every change of a path and every two of them: nothing reaches a handler without what the rule of its path needs."""
    # As the caller sends it: the guard refuses what is not HTTP as well.
    single = [(method, change(path), {}) for path in PATHS for change in CHANGES for method in METHODS] + OVERRIDES
    double = [("GET", one(other(path)), {}) for path in PATHS for one, other in itertools.product(CHANGES, CHANGES)]
    double = list({target: ("GET", target, headers) for method, target, headers in double}.values())
    reached = collections.Counter()
    figures = []
    with api("node", "paths.mjs") as of_node, python_apis() as of_python, go_apis() as of_go:
        # Whether a request is forwarded does not depend on the API. So one of them gets all, and the others what was forwarded.
        asked, forwarded = [(caller, request) for caller in CALLERS for request in single] + [("stranger", request) for request in double], None
        for name, port in (of_go | of_node | of_python).items():
            with issuer(program) as issued, guard(program, issued, RULES, f"http://127.0.0.1:{port}") as started:
                address, tokens = address_of(started.url), {caller: issued.token(**claims) if claims else None for caller, claims in CALLERS.items()}
                plainly(address, tokens, issued.token("admin orders:write"), name)
                answers = all_answers(address, [(request, tokens[caller]) for caller, request in forwarded or asked])
            answered = [(*which, answer) for which, answer in zip(forwarded or asked, answers) if answer]
            wrong = [(caller, request, answer) for caller, request, answer in answered if not is_allowed(caller, answer)]
            assert not wrong, f"{name}: {len(wrong)} requests reached a handler without what its rule needs, such as {wrong[:5]}"
            if forwarded is None:
                # Everything but the guard's refusals.
                forwarded = [(caller, request) for caller, request, (status, handler, _) in answered if handler or status not in [400, 401, 403]]
                figures.append(f"{len(asked)} requests, {len(forwarded)} of them forwarded")
            # The row can fail: without the guard, this framework takes some of these requests for those of handlers that they do not spell.
            bare = all_answers(("127.0.0.1", port), [(request, None) for request in single])
            reached[name] = sum(1 for request, answer in zip(single, bare) if answer and is_mistaken(request, answer))
            assert reached[name], f"{name}: this row finds nothing"
    figures.append("without the guard: " + ", ".join(f"{name} {count}" for name, count in reached.items()))
    return "; ".join(figures)


def plainly(address, tokens, powerful, name):
    """Each handler is reached by the callers that may, and by no others."""
    caller = Caller(address)
    for method, path, token, expected in [
        ("GET", "/admin", powerful, "admin"),
        ("GET", "/admin/panel", powerful, "admin"),
        ("DELETE", "/orders/7", powerful, "delete"),
        ("GET", "/orders/7", tokens["reader"], "read"),
        ("GET", f"/users/{ALICE}", tokens["alice"], "user"),
        ("GET", "/users/bob", tokens["alice"], None),
        ("GET", "/x", None, "public"),
        ("GET", "/admin", tokens["reader"], None),
        ("DELETE", "/orders/7", tokens["reader"], None),
    ]:
        answer = caller.ask((method, path, {}), token)
        assert answer and answer[1] == expected, f"{name}: {method} {path}: {answer}, expected {expected}"
    caller.close()
