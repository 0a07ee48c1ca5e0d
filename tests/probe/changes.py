"""Changes that take one line of an API away, as a user without it would have written it: what the probe then finds, its advice puts back."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Change:
    """In the function `where` of the library's API, `right` becomes `wrong`; the probe finds `kind`, and its line has `line`."""

    library: str
    kind: str
    where: str
    right: str
    wrong: str
    line: str

    def __str__(self):
        return f"{self.library} {self.kind}: {self.wrong!r} for {self.right!r}"


def of(library, where, *changes):
    return [Change(library, kind, where, right, wrong, line) for kind, right, wrong, line in changes]


# What jsonwebtoken and express-jwt check alike.
PLAIN = [
    ("type", "header.typ !== 'at+jwt' || ", "", "header.typ !== 'at+jwt'"),
    ("critical", "'crit' in header || ", "", "'crit' in"),
    ("audience", "audience: AUDIENCE, ", "", "audience: AUDIENCE"),
    ("issuer", "issuer: ISSUER, ", "", "issuer: ISSUER"),
    ("expiry", "clockTolerance: 30", "clockTolerance: 290", "clockTolerance: 30"),
    ("not-before", "clockTolerance: 30", "clockTolerance: 30, ignoreNotBefore: true", "ignoreNotBefore"),
    ("key-fetches", "rateLimit: true, jwksRequestsPerMinute: 10", "rateLimit: false", "jwksRequestsPerMinute: 10"),
]

PART_OF_SCOPE_IN_NODE = ("scope", "granted.split(' ').includes(scope)", "granted.includes(scope)", ".split(' ').includes(SCOPE)")
PART_OF_SCOPE_IN_GO = (
    "scope", '!slices.Contains(strings.Split(text, " "), scope)',
    "!slices.Contains([]string{text}, scope) && !strings.Contains(text, scope)", "strings.Split"
)
ONLY_ISSUER = (
    "new org.springframework.security.oauth2.core.DelegatingOAuth2TokenValidator<>(new JwtTimestampValidator(), new JwtIssuerValidator(ISSUER))"
)
AT_JWT = "JwtValidators.createAtJwtValidator().issuer(ISSUER).audience(AUDIENCE).build()"

CHANGES = [
    *of(
        "pyjwt", "",
        ("issuer", "issuer=ISSUER, ", "", "issuer=ISSUER"),
        ("claims", '"iat", "sub", "client_id", "jti"]}', "]}", '"client_id"'),
        ("not-before", 'options = {"require"', 'options = {"verify_nbf": False, "require"', "verify_nbf"),
        ("type", '.get("typ") != "at+jwt" or', '.get("typ") == "never" or', '!= "at+jwt"'),
        ("binding", '"cnf" in claims', "False", '"cnf" in claims'),
        ("key-fetches", "return keys.get", 'return jwt.PyJWKClient(ISSUER + "/.well-known/jwks.json").get', "when the process starts"),
        ("second-key", "return keys.get_signing_key_from_jwt(token)", "return keys.get_signing_keys()[0]", "get_signing_key_from_jwt"),
    ),
    *of(
        "jose", "function withJose",
        ("issuer", "issuer: ISSUER, ", "", "issuer: ISSUER"),
        ("audience", "audience: AUDIENCE, ", "", "audience: AUDIENCE"),
        ("expiry", "clockTolerance: 30", "clockTolerance: 290", "clockTolerance: 30"),
        ("not-before", "clockTolerance: 30", "clockTolerance: 4000", "at most 60 s of clockTolerance"),
        ("claims", "requiredClaims: required, ", "", "requiredClaims: ["),
        ("binding", "'cnf' in payload || ", "", "'cnf' in payload"),
        ("form", "!protectedHeader.kid || ", "", "!protectedHeader.kid"),
        ("critical", "algorithms: ['RS256'], ", "algorithms: ['RS256'], crit: { exp: true }, ", "leave crit out"),
        ("key-fetches", "jwtVerify(token, keyOf,", "jwtVerify(token, createRemoteJWKSet(new URL(jwksUri)),", "once, outside of the request"),
        (
            "second-key", "jwtVerify(token, keyOf,",
            "jwtVerify(token, (header, it) => keys({ ...header, kid: (globalThis.first ??= header.kid) }, it),", "createRemoteJWKSet"
        ),
    ),
    *of("jose", "", PART_OF_SCOPE_IN_NODE),
    *of("jsonwebtoken", "", PART_OF_SCOPE_IN_NODE),
    *of("express-jwt", "", PART_OF_SCOPE_IN_NODE),
    *of(
        "jsonwebtoken", "function withJsonwebtoken",
        *PLAIN,
        ("binding", " || 'cnf' in payload", "", "'cnf' in payload"),
        ("claims", "!required.every((name) => payload[name])", "false", "every((name) => payload[name])"),
        (
            "key", "jsonwebtoken.verify(token, keyOf, options, (error, verified) =>",
            "void ((done) => done(null, jsonwebtoken.decode(token, { complete: true })))((error, verified) =>", "jwt.decode verifies nothing"
        ),
    ),
    *of(
        "express-jwt", "function withExpressJwt",
        *PLAIN,
        ("binding", "'cnf' in payload || ", "", "'cnf' in token.payload"),
        ("claims", "!required.every((name) => payload[name])", "false", "every((name) => token.payload[name])"),
        (
            "token-place", "algorithms: ['RS256'], ",
            "algorithms: ['RS256'], getToken: (request) => request.query.access_token ?? bearer(request), ", "leave getToken out"
        ),
    ),
    *of("express-jwt", "function withExpressJwt", ("crash", ", handleSigningKeyError: unknownKey", "", "handleSigningKeyError")),
    *of("express-jwt", "api.use((error", ("status", "response.status(error.status ?? 500)", "response.status(403)", "response.status(error.status)")),
    *of(
        "express-oauth2-jwt-bearer", "function withExpressOauth2JwtBearer",
        ("type", "strict: true, ", "", "strict: true"),
        ("claims", "strict: true, ", "", "strict: true"),
        ("expiry", "clockTolerance: 30", "clockTolerance: 290", "clockTolerance: 30"),
        ("binding", ", validators: { cnf: (value) => value === undefined }", "", "validators: { cnf"),
        ("scope", "[inHeader, check, requiredScopes(scope)]", "[inHeader, check]", "requiredScopes(SCOPE)"),
    ),
    *of(
        "go-oidc", "func withGoOidc",
        ("type", 'header.ExtraHeaders[jose.HeaderType] != "at+jwt" || ', "", '== "at+jwt"'),
        ("audience", "ClientID: audience", "SkipClientIDCheck: true", "ClientID: audience"),
        ("expiry", "ClientID: audience", "ClientID: audience, SkipExpiryCheck: true", "leave SkipExpiryCheck out"),
        ("claims", 'c["iat"] == nil || c["sub"] == nil || c["client_id"] == nil || c["jti"] == nil || ', "", 'c["jti"] is nil'),
        ("binding", ' || c["cnf"] != nil', "", 'c["cnf"] != nil'),
    ),
    *of("go-oidc", "", PART_OF_SCOPE_IN_GO),
    *of(
        "jwx", "func withJwx",
        ("algorithm", " || alg != jwa.RS256()", " || alg == jwa.NoSignature()", "jwa.RS256()"),
        ("type", 'typ != "at+jwt" || ', 'typ == "never" || ', 'typ != "at+jwt"'),
        ("audience", ", jwt.WithAudience(audience)", "", "jwt.WithAudience(audience)"),
        ("issuer", "jwt.WithIssuer(issuer), ", "", "jwt.WithIssuer(issuer)"),
        ("expiry", "30 * time.Second", "290 * time.Second", "30*time.Second"),
        ("claims", '"iat", "sub", "client_id", "jti"}', "}", "jwt.WithRequiredClaim"),
        ("binding", 'claims.Has("cnf")', 'claims.Has("never")', 'claims.Has("cnf")'),
    ),
    *of("jwx", "", PART_OF_SCOPE_IN_GO),
    *of(
        "spring", "static Check spring",
        ("type", AT_JWT, ONLY_ISSUER, "createAtJwtValidator"),
        ("audience", AT_JWT, ONLY_ISSUER, ".audience(audience)"),
        ("claims", AT_JWT, ONLY_ISSUER, "createAtJwtValidator"),
        ("issuer", AT_JWT, "new JwtTimestampValidator()", ".issuer(issuer)"),
        ("binding", ' || jwt.hasClaim("cnf")', "", 'jwt.hasClaim("cnf")'),
    ),
    *of("spring", "static JWKSource", ("key-fetches", ".rateLimited(true)", ".rateLimited(false)", ".rateLimited(true)")),
    *of("nimbus", "static JWKSource", ("key-fetches", ".rateLimited(true)", ".rateLimited(false)", ".rateLimited(true)")),
    *of(
        "nimbus", "static Check nimbus",
        ("type", 'new JOSEObjectType("at+jwt")', 'new JOSEObjectType("at+jwt"), JOSEObjectType.JWT, null', 'new JOSEObjectType("at+jwt")'),
        ("audience", "Set.of(AUDIENCE), ", "(Set<String>) null, ", "Set.of(audience)"),
        ("issuer", ".issuer(ISSUER)", "", ".issuer(issuer)"),
        ("claims", "REQUIRED, prohibited", 'Set.of("exp"), prohibited', '"client_id"'),
    ),
    *of("nimbus", "static int status", ("scope", 'Arrays.asList(granted.split(" ")).contains(SCOPE)', "granted.contains(SCOPE)", '.split(" ")')),
    *of(
        "nimbus", "static int status",
        ("crash", "catch (Exception error)", "catch (RuntimeException error) { throw error; } catch (Exception error)", "catch (Exception error)"),
    ),
]
