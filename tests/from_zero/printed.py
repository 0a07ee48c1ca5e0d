"""Runs a page of `docs/` as it is printed, in an empty folder.

A block of `sh` is run; lines in it that begin with `# ` are the output that the command before them must print, where `...` at the end of
a line stands for any text. A comment before a block says more: `<!-- file NAME -->` writes the block to a file, `<!-- terminal NAME, until: TEXT -->` runs it in the background until it has
printed TEXT, in place of what that terminal ran before. `<!-- shown -->` is for the reader alone.

A page names fixed ports of 127.0.0.1. Where the system allows it, the page runs in a network namespace of its own, so that other programs on
these ports do not matter; what it downloads is downloaded before. Elsewhere the ports must be free.
"""

import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"(?:<!-- (?P<mark>[^\n]*?) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)```\n", re.S)
END = "--- done"
# Set in the process that runs inside the network namespace.
ISOLATED = "PRINTED_PAGE_ISOLATED"


class Failure(Exception):
    """A failure, described for the person who reads the output."""


class Shell:
    """One shell for all blocks, so that a variable that one block exports is set in the next."""

    def __init__(self, folder, environment):
        self.process = subprocess.Popen(
            ["bash"], cwd=folder, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def run(self, text):
        # The output may lack a final line break.
        self.process.stdin.write(f"{text}\nprintf '\\n%s %s\\n' '{END}' $?\n")
        self.process.stdin.flush()
        output = []
        for line in self.process.stdout:
            if line.startswith(END):
                if line.split()[-1] != "0":
                    raise Failure(f"this failed:\n{text}\n{''.join(output)}")
                return output[:-1] if output[-1:] == ["\n"] else output
            output.append(line)
        raise Failure(f"the shell ended at:\n{text}\n{''.join(output)}")


class Terminal:
    """A command that runs in the background."""

    def __init__(self, text, until, shell):
        folder, path = (line.strip() for line in shell.run('pwd; printf "%s\\n" "$PATH"'))
        self.process = subprocess.Popen(
            ["bash", "-c", text], cwd=folder, env={**os.environ, "PATH": path}, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        self.output, seen = [], threading.Event()

        def listen():
            for line in self.process.stdout:
                self.output.append(line)
                if until in line:
                    seen.set()
            seen.set()

        threading.Thread(target=listen, daemon=True).start()
        if not seen.wait(900) or not any(until in line for line in self.output):
            self.stop()
            raise Failure(f"this never printed {until!r}:\n{text}\n{''.join(self.output)}")

    def stop(self):
        try:
            os.killpg(self.process.pid, signal.SIGINT)
            self.process.wait(30)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(self.process.pid, signal.SIGKILL)


def commands(text):
    """Each command with the lines that it must print."""
    pairs, lines, expected = [], [], []
    for line in text.splitlines():
        if line.startswith("# "):
            expected.append(line[2:])
            continue
        if expected:
            pairs.append(("\n".join(lines), expected))
            lines, expected = [], []
        lines.append(line)
    return pairs + [("\n".join(lines), expected)]


def matches(printed, expected):
    def same(line, pattern):
        return line.startswith(pattern[:-3]) and len(line) > len(pattern) - 3 if pattern.endswith("...") else line == pattern

    return len(printed) == len(expected) and all(map(same, printed, expected))


def require_programs(pairs):
    for program, package in pairs:
        if not shutil.which(program):
            raise Failure(f"missing: {program} (Debian: {package})")


def require_free_ports(ports):
    for port in ports:
        with socket.socket() as probe:
            # A program that has just ended may hold the port for a while.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as taken:
                raise Failure(f"port {port} of 127.0.0.1 is taken: {taken}")


def isolation():
    """The command that starts a program in a network namespace of its own, or None where the system does not allow it."""
    command = ["unshare", "--net"] if os.getuid() == 0 else ["unshare", "--map-root-user", "--net"]
    if not shutil.which("unshare"):
        return None
    return command if subprocess.run([*command, "true"], capture_output=True).returncode == 0 else None


def raise_loopback():
    """Brings up `lo`, which is down in a new network namespace (netdevice(7): SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        _, flags = struct.unpack("16sh", fcntl.ioctl(control, 0x8913, struct.pack("16sh", b"lo", 0)))
        fcntl.ioctl(control, 0x8914, struct.pack("16sh", b"lo", flags | 1))


class Page:
    """A page, the ports that it names, and the number of blocks below which something was not found."""

    def __init__(self, name, ports, least):
        self.name, self.ports, self.least = name, ports, least
        self.text = (ROOT / "docs" / name).read_text()

    def run_before(self, pattern, *further, environment=os.environ):
        """Runs the page's lines that match, and further commands, in a folder that is then deleted: a namespace of its own cannot download."""
        folder = Path(tempfile.mkdtemp())
        try:
            (folder / "sealwright").symlink_to(ROOT)
            shell = Shell(folder, environment)
            for block in BLOCK.finditer(self.text):
                for command, _ in commands(block["text"]) if block["language"] == "sh" else []:
                    for line in command.splitlines():
                        if re.match(pattern, line):
                            shell.run(line)
            for command in further:
                shell.run(command(folder))
            shell.process.kill()
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def run_isolated(self, download, offline, environment=os.environ):
        """Runs the page where no other program listens. The variables in `offline` say to use what `download` has brought."""
        if ISOLATED in os.environ:
            raise_loopback()
        elif command := isolation():
            download()
            os.environ.update({ISOLATED: "1", **offline})
            os.execvp(command[0], [*command, sys.executable, *sys.argv])
        require_free_ports(self.ports)
        self.run({**os.environ, **environment})

    def run(self, environment):
        folder = Path(tempfile.mkdtemp())
        (folder / "sealwright").symlink_to(ROOT)
        terminals, steps, begun = {}, 0, time.monotonic()
        shell = Shell(folder, environment)
        try:
            for block in BLOCK.finditer(self.text):
                mark, text = block["mark"] or "", block["text"]
                steps += 1
                if written := re.fullmatch(r"file (.+)", mark):
                    (folder / written[1]).write_text(text)
                elif background := re.fullmatch(r"terminal (\w+), until: (.+)", mark):
                    if before := terminals.pop(background[1], None):
                        before.stop()
                    terminals[background[1]] = Terminal(text, background[2], shell)
                elif mark == "shown" or mark.startswith("from "):
                    continue
                elif mark or block["language"] != "sh":
                    raise Failure(f"unknown kind of block: {mark or block['language']}\n{text}")
                else:
                    for command, expected in commands(text):
                        printed = [line.rstrip("\n") for line in shell.run(command)]
                        if expected and not matches(printed, expected):
                            raise Failure(f"{command}\nmust print {expected}, and printed {printed}")
        finally:
            for terminal in terminals.values():
                terminal.stop()
            shell.process.kill()
            shutil.rmtree(folder, ignore_errors=True)
        if steps < self.least:
            raise Failure(f"{self.name} has only {steps} blocks")
        place = "a network namespace of its own" if ISOLATED in os.environ else "the network of this machine"
        print(f"{steps} blocks of docs/{self.name} did what they say, in {place}, in {time.monotonic() - begun:.0f} s")
