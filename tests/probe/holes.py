"""The planted holes."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Hole:
    """One hole of one API: how the probe calls it, and a part of the line to change. It may be of further kinds."""

    library: str
    name: str
    kind: str
    line: str
    also: tuple = ()

    def __str__(self):
        return f"{self.library} {self.name}"


# Of kinds that the hostile tokens did not have before the probe.
NEW = [
    Hole("pyjwt", "leeway", "expiry", "leeway=30"),
    Hole("jsonwebtoken", "old-secret", "algorithm", "algorithms: ['RS256']"),
    Hole("express-oauth2-jwt-bearer", "token-in-query", "token-place", "before auth(..)"),
    Hole("jose", "exact-path", "path", "api.use(check)"),
    Hole("jose", "inside", "trusted-header", "for every caller"),
    Hole("go-oidc", "unlimited-fetches", "key-fetches", "at most once in 30 s"),
    Hole("jwx", "head", "method", "for every method"),
    Hole("jwx", "panic", "crash", "before you index"),
    Hole("nimbus", "key-file", "algorithm", "JWSAlgorithm.RS256"),
    Hole("nimbus", "certificate", "key-from-token", "JWKSourceBuilder.create"),
    Hole("nimbus", "remembers-jti", "cached-token", "processor.process"),
    Hole("sealwright", "behind-guard", "trusted-header", "only from the proxy"),
    Hole("sealwright", "any-issuers-keys", "key-from-token", "configured key set", ("fetch",)),
    Hole("sealwright", "one-key", "second-key", "by kid"),
]

HOLES = [
    Hole("pyjwt", "jku", "key-from-token", "jwt.PyJWKClient", ("fetch",)),
    Hole("pyjwt", "not-verified", "key", "verify_signature", ("algorithm", "key-from-token", "form")),
    Hole("pyjwt", "no-audience", "audience", "audience=AUDIENCE", ("claims",)),
    Hole("pyjwt", "no-expiry", "expiry", "verify_exp", ("claims",)),
    Hole("pyjwt", "part-of-scope", "scope", ".split("),
    Hole("jose", "embedded-key", "key-from-token", "not EmbeddedJWK"),
    Hole("jose", "no-type", "type", "typ: 'at+jwt'"),
    Hole("go-oidc", "any-issuer", "issuer", "without SkipIssuerCheck", ("claims",)),
    Hole("jwx", "no-crit", "critical", "jws.WithCritValidation(true)"),
    Hole("nimbus", "bound", "binding", "prohibited"),
    Hole("sealwright", "unsigned", "algorithm", "list of algorithms"),
    *NEW,
]
