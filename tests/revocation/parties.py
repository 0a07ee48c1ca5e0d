"""The clients and users of the drill, the tokens that they get at first, and the ways in which these are revoked."""

import asyncio
import json
import random
import time
from dataclasses import dataclass

from front import Caller, post, token_request
from nodes import AUDIENCE
from watches import Token
from world import PASSWORD

ALLOW = ["--allow", f"{AUDIENCE}=orders:read"]
# The clients under load, of whose tokens some are revoked one by one.
APPS = 10
# The logins of a user of whom single logins are ended.
LOGINS_OF_ONE = 5
# The clients, users and logins of which nothing is revoked.
STAYING = 5

CLIENT_WAYS = ["client revoke-tokens", "client disable", "client delete", "client drop-secret --compromised"]
USER_WAYS = ["user revoke-tokens", "user disable"]
LOGIN_WAYS = ["login end", "POST /oauth/revoke with its refresh token"]
# Every fifth by a command: each is a process.
TOKEN_WAYS = ["POST /oauth/revoke"] * 4 + ["token revoke"]


@dataclass(eq=False)
class Holder:
    """A client, or a login with its refresh token, and its access tokens."""

    client: dict
    tokens: list
    refresh_token: str | None = None
    username: str | None = None


class Parties:
    def __init__(self, nodes):
        self.nodes = nodes
        # A command is a process: two at once leave room for the nodes.
        self.commands = asyncio.Semaphore(2)

    async def command(self, *command, typed=None):
        """What a command says, and when it had ended."""

        def run():
            return self.nodes.command(*command, typed=typed), time.time()

        async with self.commands:
            return await asyncio.to_thread(run)

    async def ask(self, request, node=None):
        """The status and the body of an answer, and when it came."""
        caller = Caller(self.nodes.addresses, random.randrange(2) if node is None else node)
        try:
            async with asyncio.timeout(30):
                status, body = await caller.send(request)
            return status, body, time.time()
        finally:
            caller.close()

    async def succeed(self, request, node=None):
        """The body of the answer 200, and when it came: a node may not know a new client yet."""
        for _ in range(50):
            status, body, answered_at = await self.ask(request, node)
            if status == 200:
                return body, answered_at
            await asyncio.sleep(0.1)
        raise AssertionError(f"{status} {body.decode()}: {request.decode().splitlines()[0]}")

    # What there is at first.

    async def furnish(self, clients, users, logins):
        single = -(-logins // LOGINS_OF_ONE)
        self.portal = await self.create_client("portal", "password", "refresh_token")
        apps = await asyncio.gather(*(self.create_client(f"app-{number}", "client_credentials") for number in range(APPS)))
        self.apps = {app["client_id"]: app for app in apps}
        holders = await asyncio.gather(*(self.client_with_tokens(f"client-{number}") for number in range(clients + STAYING)))
        self.clients, self.staying = holders[STAYING:], holders[:STAYING]
        holders = await asyncio.gather(*(self.user_with_login(f"user-{number}") for number in range(users + STAYING)))
        self.users, staying = holders[STAYING:], holders[:STAYING]
        self.staying += staying
        of_one = await asyncio.gather(*(self.user_with_logins(f"worker-{number}", LOGINS_OF_ONE + 1) for number in range(single)))
        self.staying += [holders[0] for holders in of_one]
        self.logins = [holder for holders in of_one for holder in holders[1:]][:logins]

    async def create_client(self, name, *grants):
        flags = [word for grant in grants for word in ("--grant", grant)]
        said, _ = await self.command("client", "create", name, *flags, *ALLOW, "--json")
        return json.loads(said)

    async def client_with_tokens(self, name):
        client = await self.create_client(name, "client_credentials")
        answers = [await self.succeed(token_request(client, AUDIENCE), node) for node in range(2)]
        return Holder(client, [Token(json.loads(body)["access_token"]) for body, _ in answers])

    async def user_with_login(self, name):
        [holder] = await self.user_with_logins(name, 1)
        return holder

    async def user_with_logins(self, name, count):
        await self.command("user", "create", name, "--password-stdin", *ALLOW, typed=PASSWORD + "\n")
        return [await self.sign_in(name) for _ in range(count)]

    async def sign_in(self, username):
        """A login that was refreshed once."""
        first = post("/oauth/token", self.portal, grant_type="password", username=username, password=PASSWORD, resource=AUDIENCE)
        first = json.loads((await self.succeed(first))[0])
        second = post("/oauth/token", self.portal, grant_type="refresh_token", refresh_token=first["refresh_token"])
        second = json.loads((await self.succeed(second))[0])
        return Holder(self.portal, [Token(first["access_token"]), Token(second["access_token"])], second["refresh_token"], username)

    async def next_token(self, client):
        """Another token of a client; none while a node does not know its new secret."""
        status, body, _ = await self.ask(token_request(client, AUDIENCE))
        return Token(json.loads(body)["access_token"]) if status == 200 else None

    # How it is revoked. Each returns when the revocation was answered.

    async def revoke(self, client, token):
        return (await self.succeed(post("/oauth/revoke", client, token=token)))[1]

    async def revoke_token(self, token, way):
        if way == "token revoke":
            return (await self.command("token", "revoke", "-", typed=token.text))[1]
        return await self.revoke(self.apps[token.client], token.text)

    async def revoke_client(self, client, way):
        name, secret = client["client_id"], client["secret"]["id"]
        command = {
            "client disable": ["disable", name],
            "client delete": ["delete", name, "--yes"],
            "client revoke-tokens": ["revoke-tokens", name, "--yes"],
            "client drop-secret --compromised": ["drop-secret", name, secret, "--compromised", "--yes"],
        }[way]
        return (await self.command("client", *command))[1]

    async def revoke_user(self, holder, way):
        command = ["revoke-tokens", holder.username, "--yes"] if way == "user revoke-tokens" else ["disable", holder.username]
        return (await self.command("user", *command))[1]

    async def revoke_login(self, holder, way):
        if way == "login end":
            # `swr_`, then the id of the login.
            login = holder.refresh_token.removeprefix("swr_").partition(".")[0]
            return (await self.command("login", "end", login))[1]
        return await self.revoke(holder.client, holder.refresh_token)

    async def add_secret(self, client):
        """The same client, with another secret."""
        said, _ = await self.command("client", "add-secret", client["client_id"], "--json")
        return {**client, "secret": json.loads(said)["secret"]}
