// Our client as an MCP client, for the conformance scenarios: `sealwright attach` gets and attaches the token, and an MCP client without any
// OAuth code speaks through it. What attach is configured with, an operator would know; here it is read from the server under test.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const url = new URL(process.argv[2]);
const { client_id = "app", client_secret = "secret", private_key_pem } = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? "{}");
// A secret or a private key, as the scenario has it.
const folder = mkdtempSync(join(tmpdir(), "sealwright-"));
const keyFile = join(folder, "key.pem");
if (private_key_pem) writeFileSync(keyFile, private_key_pem, { mode: 0o600 });
const proof = private_key_pem ? { SEALWRIGHT_ATTACH_KEY_FILE: keyFile } : { SEALWRIGHT_CLIENT_SECRET: client_secret };

const refusal = await fetch(url, { method: "POST", headers: { "content-type": "application/json", accept: "application/json, text/event-stream" }, body: "{}" });
const [, metadataUrl] = /resource_metadata="([^"]+)"/.exec(refusal.headers.get("www-authenticate") ?? "") ?? [];
const metadata = await (await fetch(metadataUrl)).json();
// RFC 9728 section 3.3.
if (metadata.resource !== url.href) throw new Error(`the metadata is for ${metadata.resource}`);

const attach = spawn(process.env.SEALWRIGHT, ["attach", "--to", `${url.origin} resource=${metadata.resource}`], {
  env: {
    PATH: process.env.PATH,
    SEALWRIGHT_ATTACH_LISTEN: "127.0.0.1:0",
    SEALWRIGHT_ATTACH_MANAGEMENT_LISTEN: "off",
    SEALWRIGHT_ATTACH_LOG_FORMAT: "json",
    SEALWRIGHT_ATTACH_ISSUER: metadata.authorization_servers[0],
    SEALWRIGHT_ATTACH_CLIENT: client_id,
    ...proof,
  },
  stdio: ["ignore", "ignore", "pipe"],
});
try {
  const client = new Client({ name: "app", version: "1.0.0" });
  for await (const line of createInterface({ input: attach.stderr })) {
    const event = JSON.parse(line);
    if (event.message !== "serving") continue;
    await client.connect(new StreamableHTTPClientTransport(new URL(url.pathname, `http://${event.listen}`)));
    break;
  }
  const { tools } = await client.listTools();
  for (const { name } of tools) await client.callTool({ name, arguments: {} });
  await client.close();
} finally {
  attach.kill();
  rmSync(folder, { recursive: true });
}
