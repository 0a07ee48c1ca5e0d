// What the libraries leave open. Sealwright issues no such tokens, so nothing that is valid is refused.

import { isUtf8 } from 'node:buffer'

/** Whether the text of the token is the only one that its bytes have. Two texts of one token would defeat a list of blocked tokens. */
export function isCanonical(token) {
  const parts = token.split('.')
  const bytes = parts.map((part) => Buffer.from(part, 'base64url'))
  return parts.length === 3 && parts.every((part, at) => part !== '' && bytes[at].toString('base64url') === part) &&
    bytes.slice(0, 2).every(isUtf8)
}

const isText = (value) => typeof value === 'string' && value !== ''
const isTime = (value) => Number.isSafeInteger(value) && value >= 0 && !Object.is(value, -0)

/** Whether these are the header and the claims of an access token (RFC 9068) that anyone who holds it may use. */
export function isPlain(header, claims) {
  const soon = Date.now() / 1000 + 60 // the issuer's clock may be ahead
  return (
    isText(header.kid) && !['crit', 'zip', 'b64'].some((name) => name in header) &&
    [claims.sub, claims.client_id, claims.jti, ...[claims.aud].flat()].every(isText) &&
    isTime(claims.exp) && isTime(claims.iat) && claims.iat <= soon && (claims.nbf === undefined || isTime(claims.nbf)) &&
    (claims.scope === undefined || typeof claims.scope === 'string') &&
    !('cnf' in claims) // valid only with proof of possession of a key (RFC 7800), which these APIs do not ask for
  )
}
