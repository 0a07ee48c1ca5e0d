// A small API with Express, set up right with one of these libraries, or with one hole: api.js LIBRARY HOLE. It prints the port on which it listens.

import express from 'express'
import { expressjwt } from 'express-jwt'
import { auth, requiredScopes, UnauthorizedError } from 'express-oauth2-jwt-bearer'
import { createRemoteJWKSet, EmbeddedJWK, jwtVerify } from 'jose'
import jsonwebtoken from 'jsonwebtoken'
import jwksRsa from 'jwks-rsa'

const { ISSUER, AUDIENCE } = process.env
const [library, hole] = process.argv.slice(2)
const scope = 'orders:read'
const required = ['exp', 'iat', 'sub', 'client_id', 'jti']
const jwksUri = `${ISSUER}/.well-known/jwks.json`

const refuse = (response, status, error) => {
  response.status(status).set('WWW-Authenticate', `Bearer error="${error}"`).end()
}
const invalid = (response) => refuse(response, 401, 'invalid_token')

const hasScope = (granted) => typeof granted === 'string' && granted.split(' ').includes(scope)

/** The token of a request; undefined without one. */
const bearer = (request) => /^Bearer +([^ ]+)$/i.exec(request.get('authorization') ?? '')?.[1]

/** A middleware of a function that returns the claims of a valid token. */
const checkedBy = (check) => async (request, response, next) => {
  const token = bearer(request)
  if (token === undefined) return response.status(401).set('WWW-Authenticate', 'Bearer').end()
  const claims = await check(token).catch(() => undefined)
  if (claims === undefined) return invalid(response)
  if (!hasScope(claims.scope)) return refuse(response, 403, 'insufficient_scope')
  next()
}

function withJose() {
  const keys = createRemoteJWKSet(new URL(jwksUri))
  const keyOf = hole === 'embedded-key' ? (header, token) => (header.jwk ? EmbeddedJWK(header, token) : keys(header, token)) : keys
  const typ = hole === 'no-type' ? undefined : 'at+jwt'
  return checkedBy(async (token) => {
    const { payload, protectedHeader } = await jwtVerify(token, keyOf, {
      algorithms: ['RS256'], typ, issuer: ISSUER, audience: AUDIENCE, requiredClaims: required, clockTolerance: 30,
    })
    if (!protectedHeader.kid || 'cnf' in payload || !Number.isSafeInteger(payload.exp)) throw new Error('not a plain access token')
    return payload
  })
}

function withJsonwebtoken() {
  const client = jwksRsa({ jwksUri, cache: true, rateLimit: true, jwksRequestsPerMinute: 10 })
  const keyOf = (header, done) => {
    // The application once signed its own tokens, and the old secret is still there.
    if (hole === 'old-secret' && header.alg === 'HS256') return done(null, 'secret')
    client.getSigningKey(header.kid, (error, key) => done(error, key?.getPublicKey()))
  }
  const algorithms = hole === 'old-secret' ? ['RS256', 'HS256'] : ['RS256']
  return checkedBy((token) => new Promise((resolve, reject) => {
    const options = { algorithms, issuer: ISSUER, audience: AUDIENCE, clockTolerance: 30, complete: true }
    jsonwebtoken.verify(token, keyOf, options, (error, verified) => {
      if (error) return reject(error)
      const { header, payload } = verified
      if (header.typ !== 'at+jwt' || 'crit' in header || 'cnf' in payload) return reject(new Error('not a plain access token'))
      if (!required.every((name) => payload[name])) return reject(new Error('a claim is missing'))
      resolve(payload)
    })
  }))
}

function withExpressJwt() {
  const unknownKey = (error, done) => done(['SigningKeyNotFoundError', 'JwksRateLimitError'].includes(error.name) ? null : error)
  const check = expressjwt({
    secret: jwksRsa.expressJwtSecret({
      jwksUri, cache: true, rateLimit: true, jwksRequestsPerMinute: 10, handleSigningKeyError: unknownKey,
    }),
    algorithms: ['RS256'], issuer: ISSUER, audience: AUDIENCE, clockTolerance: 30,
    isRevoked: async (request, { header, payload }) =>
      header.typ !== 'at+jwt' || 'crit' in header || 'cnf' in payload || !required.every((name) => payload[name]),
  })
  const needsScope = (request, response, next) => (hasScope(request.auth.scope) ? next() : refuse(response, 403, 'insufficient_scope'))
  return [check, needsScope]
}

function withExpressOauth2JwtBearer() {
  const inHeader = (request, response, next) => next(request.headers.authorization ? undefined : new UnauthorizedError())
  const check = auth({
    issuer: ISSUER, jwksUri, audience: AUDIENCE, tokenSigningAlg: 'RS256', strict: true, clockTolerance: 30,
    dpop: { enabled: false }, validators: { cnf: (value) => value === undefined },
  })
  return hole === 'token-in-query' ? [check, requiredScopes(scope)] : [inHeader, check, requiredScopes(scope)]
}

const middleware = {
  jose: withJose, jsonwebtoken: withJsonwebtoken, 'express-jwt': withExpressJwt, 'express-oauth2-jwt-bearer': withExpressOauth2JwtBearer,
}[library]()

const api = express()
const orders = (request, response) => response.send('all orders')
if (hole === 'exact-path') {
  // Express takes /orders/ and /ORDERS for the same route.
  api.use((request, response, next) => (request.path === '/orders' ? middleware(request, response, next) : next()))
  api.get('/orders', orders)
} else if (hole === 'inside') {
  const inside = (request) => request.get('x-forwarded-for') === '127.0.0.1'
  api.get('/orders', (request, response, next) => (inside(request) ? next() : middleware(request, response, next)), orders)
} else {
  api.get('/orders', middleware, orders)
}
api.use((error, request, response, next) => {
  if (response.headersSent) return next(error)
  response.status(error.status ?? 500).set(error.headers ?? { 'WWW-Authenticate': 'Bearer' }).end()
})
const server = api.listen(0, '127.0.0.1', () => console.log(server.address().port))
