import { JwtVerifier } from 'aws-jwt-verify'
import { SimpleJwksCache, SimplePenaltyBox } from 'aws-jwt-verify/jwk'
import { AUDIENCE, ISSUER, JWKS_URI, divisor, verifyEach } from './lines.js'

// Its own fetcher insists on https, and asks twice. So does this one, over http.
const fetchOnce = async uri => {
  const answer = await fetch(uri, { signal: AbortSignal.timeout(3000) })
  if (answer.status !== 200) throw new Error(`the JWKS was answered with ${answer.status}`)
  return answer.arrayBuffer()
}
const fetcher = { fetch: uri => fetchOnce(uri).catch(() => fetchOnce(uri)) }
// The default of SimplePenaltyBox. The set itself is cached without end.
const penaltyBox = new SimplePenaltyBox({ waitSeconds: 10 / divisor })
const verifier = JwtVerifier.create(
  { issuer: ISSUER, audience: AUDIENCE, jwksUri: JWKS_URI },
  { jwksCache: new SimpleJwksCache({ fetcher, penaltyBox }) },
)
await verifyEach(token => verifier.verify(token))
