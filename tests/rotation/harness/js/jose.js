import { createRemoteJWKSet, jwtVerify } from 'jose'
import { AUDIENCE, ISSUER, JWKS_URI, divisor, verifyEach } from './lines.js'

// The defaults of createRemoteJWKSet. Compressed, a set is cached for a second at least.
const rule = divisor > 1 ? { cacheMaxAge: Math.max(600_000 / divisor, 1000), cooldownDuration: 30_000 / divisor } : {}
const keys = createRemoteJWKSet(new URL(JWKS_URI), rule)
await verifyEach(token => jwtVerify(token, keys, { algorithms: ['RS256'], typ: 'at+jwt', issuer: ISSUER, audience: AUDIENCE }))
