// The API with express-oauth2-jwt-bearer.
//
//   ISSUER=http://localhost:8080 AUDIENCE=https://orders.example node api-oauth2-jwt-bearer.js

import { auth, InvalidTokenError, requiredScopes, UnauthorizedError } from 'express-oauth2-jwt-bearer'

import { answerError, ordersApi, serve } from './orders.js'
import { isCanonical, isPlain } from './strict.js'

const { ISSUER, AUDIENCE } = process.env

const verify = auth({
  issuer: ISSUER, jwksUri: `${ISSUER}/.well-known/jwks.json`, audience: AUDIENCE, tokenSigningAlg: 'RS256', strict: true,
  dpop: { enabled: false }, // else it offers callers DPoP (RFC 9449), which this issuer does not support
})

// The library also takes a token from the query, where logs and histories keep it (RFC 9700 section 4.3.2), and from forms.
function inHeader(request, response, next) {
  next(request.headers.authorization ? undefined : new UnauthorizedError())
}

function strict(request, response, next) {
  const { token, header, payload } = request.auth
  next(isCanonical(token) && isPlain(header, payload) ? undefined : new InvalidTokenError())
}

const requires = (scope) => [inHeader, verify, strict, requiredScopes(scope)]

// The library answers 401 when it cannot fetch the keys. Only the text says so. Other texts can quote the token, so none goes into a header.
const NO_KEYS = [
  'connect ', 'read ', 'getaddrinfo ', 'socket ', 'request timed out', 'Expected 200 OK from', 'Failed to parse the JSON Web Key Set',
  'JSON Web Key Set malformed',
]
function unavailableWithoutKeys(error, request, response, next) {
  if (error instanceof InvalidTokenError) {
    const unavailable = { status: 503, code: 'temporarily_unavailable', headers: { 'Retry-After': '10' } }
    const invalid = { status: 401, code: 'invalid_token', headers: { 'WWW-Authenticate': 'Bearer error="invalid_token"' } }
    next(NO_KEYS.some((text) => error.message.startsWith(text)) ? unavailable : invalid)
  } else {
    next(error)
  }
}

const api = ordersApi({ requires, callerOf: (request) => request.auth.payload.sub })
api.use(unavailableWithoutKeys, answerError)
serve(api)
