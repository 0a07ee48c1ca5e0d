"""Requests as fast as the answers come, by wrk: rates, latencies, and what they cost the server."""

import json
import pathlib
import random
import subprocess

# needs: wrk=wrk

# Sends the requests that a script has built, one after the other, again and again.
ROUND_ROBIN = """
local requests, next = {}, 0
function request()
    next = next % #requests + 1
    return requests[next]
end
"""

# All requests are built before the first is sent, and sent in turn.
IN_TURN = """
function init()
    for line in io.lines("%(file)s") do
        local method, path, authorization, form = line:match("^(%%S+) (%%S+) ([^\\t]*)\\t(.*)$")
        local headers = {}
        if authorization ~= "" then headers["Authorization"] = authorization end
        if form ~= "" then headers["Content-Type"] = "application/x-www-form-urlencoded" end
        requests[#requests + 1] = wrk.format(method, path, headers, form ~= "" and form or nil)
    end
end
"""

# Each refresh token is used once: the next request has one of the answers' tokens.
REFRESHING = """
local tokens, first, last = {}, 1, 0
local function add(token)
    last = last + 1
    tokens[last] = token
end
local headers = {["Authorization"] = "%(authorization)s", ["Content-Type"] = "application/x-www-form-urlencoded"}
function init()
    for token in io.lines("%(file)s") do add(token) end
end
function request()
    local token = tokens[first]
    tokens[first], first = nil, first + 1
    return wrk.format("POST", "/oauth/token", headers, "grant_type=refresh_token&refresh_token=" .. token)
end
function response(status, headers, body)
    local token = body:match('"refresh_token":"([^"]+)"')
    if token then add(token) else io.stderr:write(status, " ", body, "\\n") end
end
"""

# The `Authorization` of each request is one of the lines of the file at random. All lines have the same length.
AT_RANDOM = """
local lines, before, after
function init()
    local file = io.open("%(file)s")
    lines = file:read("*a")
    file:close()
    math.randomseed(%(seed)d)
    local headers = {["Authorization"] = "@", ["Content-Type"] = "application/x-www-form-urlencoded"}
    before, after = wrk.format("POST", "%(path)s", headers, "%(form)s"):match("^(.-)@(.*)$")
end
function request()
    local at = math.random(0, #lines / %(line)d - 1) * %(line)d
    return before .. lines:sub(at + 1, at + %(line)d - 1) .. after
end
"""

# Each connection pauses after each answer.
PAUSE = """
function delay()
    return %d
end
"""

DONE = """
function done(summary, latency)
    local bad = summary.errors
    io.stderr:write(string.format(
        '{"answers":%d,"microseconds":%d,"p50":%f,"p99":%f,"p999":%f,"refused":%d,"broken":%d}',
        summary.requests, summary.duration, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency:percentile(99.9) / 1e3,
        bad.status, bad.connect + bad.read + bad.write + bad.timeout))
end
"""


class Request:
    """A request that is sent again and again."""

    def __init__(self, method, path, authorization="", form=""):
        self.line = f"{method} {path} {authorization}\t{form}\n"


def in_turn(folder, requests, pause_ms=0):
    """The script that sends these requests in turn."""
    file, script = pathlib.Path(folder, "requests"), pathlib.Path(folder, "in-turn.lua")
    file.write_text("".join(request.line for request in requests))
    script.write_text(ROUND_ROBIN + IN_TURN % {"file": file} + (PAUSE % pause_ms if pause_ms else "") + DONE)
    return script


def refreshing(folder, authorization, tokens):
    """The script that uses these refresh tokens and those that it gets for them. There must be more than connections."""
    file, script = pathlib.Path(folder, "refresh-tokens"), pathlib.Path(folder, "refreshing.lua")
    file.write_text("".join(f"{token}\n" for token in tokens))
    script.write_text(REFRESHING % {"file": file, "authorization": authorization} + DONE)
    return script


def at_random(folder, path, form, file):
    """The script that sends this form, each time with another of the lines of a file as the `Authorization`."""
    with file.open() as all_lines:
        line = len(next(all_lines))
    script = pathlib.Path(folder, "at-random.lua")
    # Another order each time.
    script.write_text(AT_RANDOM % {"path": path, "form": form, "file": file, "line": line, "seed": random.getrandbits(31)} + DONE)
    return script


def drive(address, script, seconds, connections, may_refuse=False):
    """Answers a second, and latencies in ms. Fails if a connection breaks, or if an answer is neither 2xx nor 3xx and refusals are not expected."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout=10s", "-s", script, f"http://{address}/"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{script}: {done.stderr}"
    figure = json.loads(done.stderr.strip().splitlines()[-1])
    assert figure["broken"] == 0 and (may_refuse or figure["refused"] == 0), f"{script}: {done.stderr}"
    return figure | {"rate": figure["answers"] * 1e6 / figure["microseconds"]}


def measure(server, script, seconds, connections):
    """The same, and microseconds of the server's CPU time per answer."""
    before = server.cpu_seconds()
    figure = drive(server.address, script, seconds, connections)
    return figure | {"cpu": (server.cpu_seconds() - before) * 1e6 / figure["answers"]}
