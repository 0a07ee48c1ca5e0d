"""A verifier in a process of its own, which reads tokens and answers them."""

import asyncio
import os

# A verifier that has this many tokens before it is given no more, except for those of which each matters: its share is smaller.
LONGEST_QUEUE = 300


class Verifying:
    """A running library, which has a `name` and a `command(folder)`. `answered(self, number, accepted, refused, reason)` is called for each
    answer."""

    def __init__(self, library, folder, environment, longest_queue, answered):
        self.library, self.folder, self.longest_queue, self.answered = library, folder, longest_queue, answered
        self.environment = {**os.environ, **environment}
        self.waiting, self.skipped, self.asked = 0, 0, 0

    async def start(self):
        self.log = open(self.folder / "log", "a+")
        command = [str(word) for word in self.library.command(self.folder)]
        self.process = await asyncio.create_subprocess_exec(
            *command, cwd=self.folder, env=self.environment, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=self.log)
        self.reading = asyncio.create_task(self.read())

    def ask(self, number, token):
        """`number` ends with `!` for all instances of ours, and begins with a letter for tokens that are asked about a second time."""
        if self.process.returncode is not None or self.waiting > self.longest_queue and not number.endswith("!"):
            self.skipped += 1
            return
        self.waiting += 1
        self.asked += 1
        self.process.stdin.write(f"{number} {token}\n".encode())

    async def read(self):
        rest = b""
        while data := await self.process.stdout.read(1 << 16):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self.heard(line.decode())

    def heard(self, line):
        number, accepted, refused, *reason = line.split(" ", 3)
        self.waiting -= 1
        self.answered(self, number, int(accepted), int(refused), " ".join(reason))

    async def drain(self):
        """Waits until every token is answered."""
        left = self.waiting
        while left:
            for _ in range(600):
                if self.waiting < left:
                    break
                assert self.process.returncode is None, self.said()
                await asyncio.sleep(0.1)
            else:
                raise AssertionError(f"{self.library.name} has not answered for a minute, and {self.waiting} tokens wait:\n{self.said()}")
            left = self.waiting

    def said(self):
        self.log.seek(0)
        return f"{self.library.name} ended with {self.process.returncode}:\n{self.log.read()[-3000:]}"

    async def stop(self):
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        self.reading.cancel()
        self.log.close()
