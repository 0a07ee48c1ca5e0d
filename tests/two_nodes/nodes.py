"""Two nodes of one issuer on PostgreSQL, which are killed and started again."""

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import tempfile
import time

from world import Postgres, Server, free_port

AUDIENCE = "https://orders.example"


class Nodes:
    """`divisor` is by how much the times of the plan are divided."""

    def __init__(self, program, divisor, token_lifetime, **settings):
        self.program, self.divisor = program, divisor
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self.addresses = [("127.0.0.1", free_port()) for _ in range(2)]
        self.folders = [tempfile.mkdtemp() for _ in range(2)]
        self.token_lifetime = token_lifetime
        self.nodes = [None, None]
        # Commands need the settings of keys as well.
        settings["key_rehearsal_speed"] = divisor
        os.environ.update({f"SEALWRIGHT_{name.upper()}": str(value) for name, value in settings.items()})

    def __enter__(self):
        self.postgres = Postgres()
        with contextlib.ExitStack() as undo:
            undo.callback(self.__exit__)
            self.start(0)
            # Nodes share the sealing key. The other file of the folder is the node's own.
            os.mkdir(f"{self.folders[1]}/keys", 0o700)
            shutil.copy(f"{self.folders[0]}/keys/sealing.key", f"{self.folders[1]}/keys/sealing.key")
            os.chmod(f"{self.folders[1]}/keys/sealing.key", 0o600)
            self.command("resource", "create", AUDIENCE, "--scope", "orders:read", "--token-lifetime", self.token_lifetime)
            created = self.command("client", "create", "shop", "--grant", "client_credentials", "--allow", f"{AUDIENCE}=orders:read", "--json")
            self.client = json.loads(created)
            self.start(1)
            undo.pop_all()
        return self

    def __exit__(self, *_):
        for node in filter(None, self.nodes):
            node.remove()
        self.postgres.remove()
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)

    def start(self, number):
        listen = ":".join(map(str, self.addresses[number]))
        self.nodes[number] = Server(
            self.program, self.postgres.url, self.folders[number], furnish=False, listen=listen, issuer=self.issuer,
            connections_per_source=4096)

    def command(self, *command, typed=None):
        for attempt in itertools.count():
            try:
                return self.nodes[0].run(*command, typed=typed)
            except AssertionError as error:
                # At this speed, clocks may differ by 80 ms: a command that began before the nodes' last heartbeat takes itself to be late. And a
                # node may create the key that a command creates.
                if attempt == 3 or not any(passing in str(error) for passing in ["set the clock", "run the command again"]):
                    raise

    async def kill(self, number):
        process = self.nodes[number].process
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)

    async def kill_and_restart(self, number):
        """kill -9, and a start after a second, during which the other node works alone."""
        await self.kill(number)
        await asyncio.sleep(1)
        began = time.monotonic()
        await asyncio.to_thread(self.start, number)
        return time.monotonic() - began

    async def rotate(self):
        """Publishes the next key now, unless a node has just done so. It signs after the lead."""
        try:
            await asyncio.to_thread(self.command, "key", "rotate", "--yes")
        except AssertionError as error:
            if "is published already" not in str(error):
                raise

    async def revoke(self):
        """Replaces the key that signs as compromised. Returns, of each revoked kid, since when it is revoked, and when the command had ended."""
        before = await self.revoked()
        await asyncio.to_thread(self.command, "key", "rotate", "--now", "--compromised", "--yes")
        ended, after = time.time(), await self.revoked()
        assert after.keys() - before.keys(), "no key was revoked"
        return {kid: at for kid, at in after.items() if kid not in before}, ended

    async def revoked(self):
        """When each revoked key was, by the database: in whole seconds, rounded down."""
        rows = await asyncio.to_thread(self.postgres.sql, "SELECT kid, revoked_at FROM signing_keys WHERE revoked_at IS NOT NULL")
        return {kid: int(at) for kid, _, at in (row.partition("|") for row in rows.split())}
