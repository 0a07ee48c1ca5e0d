// The official TypeScript client, as its documentation says. Prints what the tools answer, one line each. With `PAUSE`, it
// waits for a line between.
import { once } from "node:events";
import { Client, ClientCredentialsProvider, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const { MCP_URL, ISSUER, CLIENT_ID, CLIENT_SECRET, PAUSE } = process.env;
const authProvider = new ClientCredentialsProvider({ clientId: CLIENT_ID, clientSecret: CLIENT_SECRET, expectedIssuer: ISSUER });
const client = new Client({ name: "assistant", version: "1.0.0" });
await client.connect(new StreamableHTTPClientTransport(new URL(MCP_URL), { authProvider }));
for (const call of [{ name: "place_order", arguments: { item: "tea" } }, { name: "list_orders", arguments: {} }]) {
  const { content } = await client.callTool(call);
  console.log(content.map(({ text }) => text).join(""));
  if (PAUSE && call.name === "place_order") await once(process.stdin, "data");
}
await client.close();
process.stdin.destroy();
