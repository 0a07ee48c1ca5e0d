//! Libraries for Node.js.

use crate::probe::kind::Kind;

/// The line of Express, for all four libraries.
const fn express(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Path | Kind::Method => Some(
            "api.get('/orders', check, handler), or api.use(check) before all routes: no comparison of request.path, which Express matches less strictly",
        ),
        Kind::TrustedHeader => Some("call check for every caller: request.get('x-forwarded-for') and the like are what the caller writes"),
        Kind::Crash => Some("in an error handler, api.use((error, request, response, next) => ..): answer 401 to every error of the check"),
        _ => None,
    }
}

/// jose: the second argument of `jwtVerify` is the key set, the third the options.
pub(super) const fn jose(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Algorithm => "jwtVerify(token, keys, { algorithms: ['RS256'], .. })",
        Kind::Key | Kind::SecondKey | Kind::CachedToken => {
            "const keys = createRemoteJWKSet(new URL(`${ISSUER}/.well-known/jwks.json`)), and await jwtVerify(token, keys, ..) for each token: decodeJwt verifies nothing"
        }
        Kind::KeyFromToken | Kind::Fetch => {
            "jwtVerify(token, createRemoteJWKSet(new URL(`${ISSUER}/.well-known/jwks.json`)), ..): not EmbeddedJWK, and no key function that reads the header or iss"
        }
        Kind::Type => "jwtVerify(token, keys, { typ: 'at+jwt', .. })",
        Kind::Audience => "jwtVerify(token, keys, { audience: AUDIENCE, .. })",
        Kind::Issuer => "jwtVerify(token, keys, { issuer: ISSUER, .. })",
        Kind::Expiry => "jwtVerify(token, keys, { requiredClaims: ['exp', ..], clockTolerance: 30, .. })",
        Kind::NotBefore => {
            "use jwtVerify, with at most 60 s of clockTolerance and without currentDate; it does not check iat: if (payload.iat > Date.now() / 1000 + 60) throw new Error('iat')"
        }
        Kind::Claims => "jwtVerify(token, keys, { requiredClaims: ['exp', 'iat', 'sub', 'client_id', 'jti'], .. })",
        Kind::Binding => "if ('cnf' in payload) throw new Error('bound')",
        Kind::Critical => {
            "leave crit out of the options of jwtVerify; for what no crit announces: if ('zip' in protectedHeader || 'b64' in protectedHeader) throw new Error('extension')"
        }
        Kind::Scope => "if (typeof payload.scope !== 'string' || !payload.scope.split(' ').includes(SCOPE)) return 403",
        Kind::KeyFetches => "call createRemoteJWKSet once, outside of the request, with cooldownDuration: 30_000 (the default)",
        Kind::Form => {
            "if (!protectedHeader.kid || !Number.isSafeInteger(payload.exp)) throw new Error('not an access token'); JSON.parse hides duplicate members, so no line finds those"
        }
        _ => return express(kind),
    })
}

/// express-jwt: all options of jsonwebtoken, and `isRevoked`, which sees the header too.
pub(super) const fn express_jwt(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Algorithm => "expressjwt({ algorithms: ['RS256'], .. }): never HS256 beside it",
        Kind::Key | Kind::KeyFromToken | Kind::SecondKey | Kind::Fetch | Kind::CachedToken => {
            "expressjwt({ secret: jwksRsa.expressJwtSecret({ jwksUri: `${ISSUER}/.well-known/jwks.json`, cache: true, rateLimit: true }), .. })"
        }
        Kind::Type => "expressjwt({ isRevoked: async (request, token) => token.header.typ !== 'at+jwt', .. })",
        Kind::Audience => "expressjwt({ audience: AUDIENCE, .. })",
        Kind::Issuer => "expressjwt({ issuer: ISSUER, .. })",
        Kind::Expiry => {
            "expressjwt({ isRevoked: async (request, token) => typeof token.payload.exp !== 'number', clockTolerance: 30, .. })"
        }
        Kind::NotBefore => {
            "leave ignoreNotBefore out of the options of expressjwt; for iat: expressjwt({ isRevoked: async (request, token) => token.payload.iat > Date.now() / 1000 + 60, .. })"
        }
        Kind::Claims => {
            "expressjwt({ isRevoked: async (request, token) => !['exp', 'iat', 'sub', 'client_id', 'jti'].every((name) => token.payload[name]), .. })"
        }
        Kind::Binding => "expressjwt({ isRevoked: async (request, token) => 'cnf' in token.payload, .. })",
        Kind::Critical => "expressjwt({ isRevoked: async (request, token) => 'crit' in token.header, .. })",
        Kind::Scope => {
            "const { scope } = request.auth; if (typeof scope !== 'string' || !scope.split(' ').includes(SCOPE)) return response.sendStatus(403)"
        }
        Kind::KeyFetches => "jwksRsa.expressJwtSecret({ cache: true, rateLimit: true, jwksRequestsPerMinute: 10, .. })",
        Kind::TokenPlace => "leave getToken out: the default reads the Authorization header alone",
        Kind::Status => "in the error handler: response.status(error.status), and 403 only for the scope",
        Kind::Crash => {
            "jwksRsa.expressJwtSecret({ handleSigningKeyError: (error, done) => done(['SigningKeyNotFoundError', 'JwksRateLimitError'].includes(error.name) ? null : error), .. }): an unknown kid beyond the rate limit is a 500 otherwise"
        }
        _ => return express(kind),
    })
}

/// jsonwebtoken (npm) with jwks-rsa.
pub(super) const fn jsonwebtoken(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Algorithm => "jwt.verify(token, getKey, { algorithms: ['RS256'], .. })",
        Kind::Key | Kind::CachedToken => "jwt.verify(token, getKey, ..) for each token: jwt.decode verifies nothing",
        Kind::KeyFromToken | Kind::SecondKey | Kind::Fetch => {
            "const getKey = (header, done) => client.getSigningKey(header.kid, (error, key) => done(error, key?.getPublicKey())), with one client for the issuer's jwksUri"
        }
        Kind::Type => "const { header, payload } = jwt.verify(token, key, { complete: true, .. }); if (header.typ !== 'at+jwt') throw ..",
        Kind::Audience => "jwt.verify(token, getKey, { audience: AUDIENCE, .. })",
        Kind::Issuer => "jwt.verify(token, getKey, { issuer: ISSUER, .. })",
        Kind::Expiry => {
            "if (typeof payload.exp !== 'number') throw ..: jwt.verify accepts a token without exp; and clockTolerance: 30, not ignoreExpiration"
        }
        Kind::NotBefore => {
            "leave ignoreNotBefore out of the options of jwt.verify; it does not check iat: if (payload.iat > Date.now() / 1000 + 60) throw .."
        }
        Kind::Claims => "if (!['exp', 'iat', 'sub', 'client_id', 'jti'].every((name) => payload[name])) throw ..",
        Kind::Binding => "if ('cnf' in payload) throw ..",
        Kind::Critical => "with complete: true: if ('crit' in header) throw ..",
        Kind::Scope => {
            "if (typeof payload.scope !== 'string' || !payload.scope.split(' ').includes(SCOPE)) return response.sendStatus(403)"
        }
        Kind::KeyFetches => "jwksClient({ jwksUri, cache: true, rateLimit: true, jwksRequestsPerMinute: 10 }), made once",
        Kind::Crash => {
            "in the callback of jwt.verify: if (error) return response.sendStatus(401), and never throw there: Express does not see it, and the process ends"
        }
        _ => return express(kind),
    })
}

/// express-oauth2-jwt-bearer, which uses jose.
pub(super) const fn express_oauth2_jwt_bearer(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Algorithm => "auth({ tokenSigningAlg: 'RS256', .. })",
        Kind::Key | Kind::KeyFromToken | Kind::SecondKey | Kind::Fetch | Kind::CachedToken => {
            "auth({ issuer: ISSUER, jwksUri: `${ISSUER}/.well-known/jwks.json`, .. }) before each handler"
        }
        Kind::Type => "auth({ strict: true, .. })",
        Kind::Audience => "auth({ audience: AUDIENCE, .. })",
        Kind::Issuer => "auth({ issuer: ISSUER, .. })",
        Kind::Expiry => "auth({ clockTolerance: 30, .. })",
        Kind::Claims => "auth({ strict: true, .. }), which requires the claims of RFC 9068",
        Kind::Binding => "auth({ dpop: { enabled: false }, validators: { cnf: (value) => value === undefined }, .. })",
        Kind::Scope => "requiredScopes(SCOPE) after auth(..)",
        Kind::KeyFetches => "call auth(..) once, with cooldownDuration: 30_000 (the default)",
        Kind::TokenPlace => {
            "before auth(..): (request, response, next) => next(request.headers.authorization ? undefined : new UnauthorizedError())"
        }
        Kind::Status => "in the error handler: response.status(error.status).set(error.headers)",
        _ => return express(kind),
    })
}
