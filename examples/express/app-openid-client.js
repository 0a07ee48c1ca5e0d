// An app that calls the API with openid-client. It gets a token with its own credentials, and keeps it until shortly before its end.
//
//   ISSUER=http://localhost:8080 AUDIENCE=https://orders.example CLIENT_ID=billing CLIENT_SECRET_FILE=billing.secret \
//     ORDERS_URL=http://127.0.0.1:9000/orders node app-openid-client.js

import { readFile } from 'node:fs/promises'

import * as oauth from 'openid-client'

const { ISSUER, AUDIENCE, CLIENT_ID, CLIENT_SECRET_FILE, ORDERS_URL } = process.env

const issuer = new URL(ISSUER)
const isLocal = issuer.protocol === 'http:' && ['localhost', '127.0.0.1'].includes(issuer.hostname)

let configuration, token

async function accessToken() {
  if (token && Date.now() < token.renewAt) return token.text
  configuration ??= await oauth.discovery(
    issuer, CLIENT_ID, {}, oauth.ClientSecretBasic((await readFile(CLIENT_SECRET_FILE, 'utf8')).trim()),
    { algorithm: 'oauth2', execute: isLocal ? [oauth.allowInsecureRequests] : [] }, // http to this machine alone
  )
  const answer = await oauth.clientCredentialsGrant(configuration, { resource: AUDIENCE })
  token = { text: answer.access_token, renewAt: Date.now() + answer.expires_in * 800 } // at four fifths of its life
  return token.text
}

// ORDERS_URL is a setting, and a redirect is an error: the token goes to no other origin.
const answer = await fetch(ORDERS_URL, {
  headers: { authorization: `Bearer ${await accessToken()}` }, redirect: 'error', signal: AbortSignal.timeout(10_000),
})
console.log(answer.status, await answer.text())
