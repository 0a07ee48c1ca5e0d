// openid-client authenticates by private_key_jwt: two tokens, and the revocation of one. Prints what it got, as JSON.
import { readFileSync } from "node:fs";
import { createPrivateKey } from "node:crypto";
import * as client from "openid-client";

const [issuer, id, file, algorithm] = process.argv.slice(2);
const parameters = {
  RS256: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" },
  PS256: { name: "RSA-PSS", hash: "SHA-256" },
  ES256: { name: "ECDSA", namedCurve: "P-256" },
  Ed25519: { name: "Ed25519" },
};
const der = createPrivateKey(readFileSync(file)).export({ format: "der", type: "pkcs8" });
const key = await crypto.subtle.importKey("pkcs8", der, parameters[algorithm], false, ["sign"]);
const config = await client.discovery(new URL(issuer), id, undefined, client.PrivateKeyJwt(key), {
  algorithm: "oauth2",
  // The issuer of this test is on this machine.
  execute: [client.allowInsecureRequests],
});
const got = [];
let last;
for (let request = 0; request < 2; request++) {
  last = await client.clientCredentialsGrant(config);
  got.push(last.access_token ? "token" : "no token");
}
await client.tokenRevocation(config, last.access_token);
got.push("revoked");
console.log(JSON.stringify(got));
