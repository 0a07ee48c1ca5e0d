"""Those who read status lists: instances of our verifier, and libraries of other people. Each is asked about watched tokens until it refuses
them, in a thread that does nothing else."""

import asyncio
import itertools
import threading
import time
from dataclasses import dataclass

from verifying import LONGEST_QUEUE, Verifying

# `examples/many_verifiers.rs` asks its instances as often.
EVERY = 0.25


@dataclass
class Instances:
    """Some instances of our verifier in one process, which the nodes see by this name."""

    name: str
    title: str
    count: int
    program: str

    def command(self, _):
        return [self.program, str(self.count), "1"]


class Ours(Verifying):
    every = EVERY

    def __init__(self, instances, folder, environment, bound, answered):
        super().__init__(instances, folder, {**environment, "NAME": instances.name}, LONGEST_QUEUE, answered)
        self.title, self.instances, self.bound = instances.title, instances.count, bound
        self.watches, self.awaited, self.numbers = [], {}, itertools.count()

    def watch(self, watch):
        self.process.stdin.write(f"{len(self.watches)}? {watch.token.text}\n".encode())
        self.watches.append(watch)

    async def ask_each(self, token):
        """How many instances accept a token and how many refuse it, and why."""
        number = f"{next(self.numbers)}!"
        answer = self.awaited[number] = asyncio.get_running_loop().create_future()
        self.ask(number, token.text)
        try:
            async with asyncio.timeout(60):
                return await answer
        except TimeoutError:
            raise AssertionError(f"no answer for a minute:\n{self.said()}")

    def heard(self, line):
        number, *rest = line.split(" ")
        if number.endswith("?"):
            instance, accepted_at, refused_at = rest
            self.watches[int(number[:-1])].refused[self, int(instance)] = float(accepted_at), float(refused_at)
        elif answer := self.awaited.pop(number, None):
            self.waiting -= 1
            accepted, refused, *reason = rest
            if not answer.done():
                answer.set_result((int(accepted), int(refused), " ".join(reason)))
        else:
            super().heard(line)


class Stranger(threading.Thread):
    """A library of other people, whose snippet `asked` runs. It is also asked about `staying` tokens, so that it goes on to read their lists."""

    every, instances = EVERY, 1

    def __init__(self, asked, staying, bound):
        super().__init__(daemon=True)
        self.asked, self.staying, self.bound = asked, staying, bound
        self.title = f"{asked.library.title} {asked.library.installed}"
        # The watched tokens, and when each was last asked about and accepted.
        self.open, self.faults = {}, []
        self.over, self.one_at_a_time = threading.Event(), threading.Lock()

    def watch(self, watch):
        self.open[watch] = time.time()

    def is_revoked(self, token):
        with self.one_at_a_time:
            return self.asked.is_revoked(token.text)

    def run(self):
        try:
            while not self.over.wait(EVERY):
                for watch in list(self.open):
                    asked_at = time.time()
                    if self.is_revoked(watch.token):
                        watch.refused[self, 0] = self.open.pop(watch), time.time()
                    else:
                        self.open[watch] = asked_at
                if any(self.is_revoked(token) for token in self.staying):
                    self.faults.append(f"{self.title} refused a token that no one had revoked")
        except Exception as error:
            self.faults.append(f"{self.title}: {error}")

    def stop(self):
        self.over.set()
        self.join(30)
        return self.faults
