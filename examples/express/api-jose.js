// The API with jose.
//
//   ISSUER=http://localhost:8080 AUDIENCE=https://orders.example node api-jose.js

import { createRemoteJWKSet, errors, jwtVerify } from 'jose'

import { answerError, ordersApi, serve } from './orders.js'
import { isCanonical, isPlain } from './strict.js'

const { ISSUER, AUDIENCE } = process.env
const keys = createRemoteJWKSet(new URL(`${ISSUER}/.well-known/jwks.json`))

const challenge = (text) => ({ 'WWW-Authenticate': text })
const noToken = { status: 401, code: 'no_token', headers: challenge('Bearer') }
const invalid = { status: 401, code: 'invalid_token', headers: challenge('Bearer error="invalid_token"') }
const unavailable = { status: 503, code: 'temporarily_unavailable', headers: { 'Retry-After': '10' } }
const insufficient = (scope) => ({
  status: 403, code: 'insufficient_scope', headers: challenge(`Bearer error="insufficient_scope", scope="${scope}"`),
})

/** Whether the keys could not be fetched: the issuer does not answer, or not with keys. It is not the token's fault. */
function keysAreMissing(error) {
  return error instanceof errors.JWKSTimeout || error instanceof errors.JWKSInvalid || error.code === 'ERR_JOSE_GENERIC' ||
    (error instanceof TypeError && error.message === 'fetch failed')
}

const requires = (scope) => async (request, response, next) => {
  const [, token] = /^Bearer +([^ ]+)$/i.exec(request.get('authorization') ?? '') ?? []
  if (token === undefined) throw noToken
  if (!isCanonical(token)) throw invalid
  const { protectedHeader, payload } = await jwtVerify(token, keys, {
    algorithms: ['RS256'], typ: 'at+jwt', issuer: ISSUER, audience: AUDIENCE, requiredClaims: ['exp', 'iat', 'sub', 'client_id', 'jti'],
  }).catch((error) => {
    throw keysAreMissing(error) ? unavailable : invalid
  })
  if (!isPlain(protectedHeader, payload)) throw invalid
  if (!payload.scope?.split(' ').includes(scope)) throw insufficient(scope)
  request.claims = payload
  next()
}

const api = ordersApi({ requires, callerOf: (request) => request.claims.sub })
api.use(answerError)
serve(api)
