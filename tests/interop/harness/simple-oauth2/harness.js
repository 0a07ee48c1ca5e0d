// Signs a user in, refreshes and revokes with simple-oauth2 as it comes: it refuses any answer whose Content-Type is not JSON.
import assert from 'node:assert'
import fs from 'node:fs'
import { ClientCredentials, ResourceOwnerPassword } from 'simple-oauth2'

const [issuer, file, password] = process.argv.slice(2)
const created = JSON.parse(fs.readFileSync(file))
const config = {
  client: { id: created.client_id ?? created.id, secret: created.secret.value },
  auth: { tokenHost: issuer, tokenPath: '/oauth/token', revokePath: '/oauth/revoke' },
}
const alone = await new ClientCredentials(config).getToken({})
assert(alone.token.access_token)
const first = await new ResourceOwnerPassword(config).getToken({ username: 'alice', password })
const second = await first.refresh()
assert(second.token.refresh_token && second.token.refresh_token !== first.token.refresh_token)
await second.revoke('refresh_token')
await second.revoke('refresh_token')
await assert.rejects(second.refresh(), (error) => error.output.statusCode === 400 && error.data.payload.error === 'invalid_grant')
console.log('simple-oauth2: signs in, refreshes, and revokes without an exception')
