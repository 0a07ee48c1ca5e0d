"""The official Python client, as its documentation says. Prints what the tools answer, one line each. With `PAUSE`, it waits for a line between."""

import asyncio
import os
import sys

import httpx2
from mcp import Client
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client


class Memory:
    """Where the client keeps its token."""

    tokens = client_info = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client_info

    async def set_client_info(self, client_info):
        self.client_info = client_info


async def main():
    url = os.environ["MCP_URL"]
    login = ClientCredentialsOAuthProvider(
        server_url=url, storage=Memory(), issuer=os.environ["ISSUER"],
        client_id=os.environ["CLIENT_ID"], client_secret=os.environ["CLIENT_SECRET"],
    )
    async with httpx2.AsyncClient(auth=login) as http, Client(streamable_http_client(url, http_client=http)) as client:
        for tool, arguments in [("place_order", {"item": "tea"}), ("list_orders", {})]:
            answer = await client.call_tool(tool, arguments)
            print("".join(part.text for part in answer.content), flush=True)
            if tool == "place_order" and "PAUSE" in os.environ:
                await asyncio.to_thread(sys.stdin.readline)


asyncio.run(main())
