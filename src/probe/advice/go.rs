//! Libraries for Go.

use crate::probe::kind::Kind;

/// The line of net/http, for both libraries.
const fn net_http(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Path => Some("http.Handle(\"/\", check(mux)): around the whole mux, not by a comparison of r.URL.Path"),
        Kind::Method => Some("http.Handle(\"/orders\", check(handler)): check for every method, before r.Method is looked at"),
        Kind::TrustedHeader => Some("check for every caller: r.Header is what the caller writes"),
        Kind::Crash => Some("answer 401 to every err, and verify the token before you index or decode its parts"),
        _ => None,
    }
}

/// coreos/go-oidc.
pub(super) const fn go_oidc(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Algorithm => "&oidc.Config{SupportedSigningAlgs: []string{oidc.RS256}, ..}",
        Kind::Key | Kind::CachedToken => "verifier.Verify(ctx, token) for each token, without InsecureSkipSignatureCheck",
        Kind::KeyFromToken | Kind::SecondKey | Kind::Fetch => {
            "oidc.NewRemoteKeySet(ctx, issuer+\"/.well-known/jwks.json\"), made once from the configured issuer"
        }
        Kind::Type => {
            "parsed, err := jose.ParseSignedCompact(token, algs); refuse unless parsed.Signatures[0].Protected.ExtraHeaders[jose.HeaderType] == \"at+jwt\""
        }
        Kind::Audience => "&oidc.Config{ClientID: audience, ..}, without SkipClientIDCheck",
        Kind::Issuer => "oidc.NewVerifier(issuer, keys, config), without SkipIssuerCheck",
        Kind::Expiry => "leave SkipExpiryCheck out of oidc.Config: Verify then requires exp, without leeway",
        Kind::NotBefore => {
            "leave SkipExpiryCheck out of oidc.Config: Verify then checks nbf with a leeway of 5 minutes; it does not check iat: refuse verified.IssuedAt after time.Now().Add(time.Minute)"
        }
        Kind::Claims => "after verified.Claims(&c): refuse if c[\"iat\"], c[\"sub\"], c[\"client_id\"] or c[\"jti\"] is nil",
        Kind::Binding => "after verified.Claims(&c): refuse if c[\"cnf\"] != nil",
        Kind::Scope => "if granted, _ := c[\"scope\"].(string); !slices.Contains(strings.Split(granted, \" \"), scope) { answer 403 }",
        Kind::KeyFetches => {
            "NewRemoteKeySet has no limit: wrap it in an oidc.KeySet whose VerifySignature fetches for an unknown kid at most once in 30 s"
        }
        _ => return net_http(kind),
    })
}

/// lestrrat-go/jwx, version 3.
pub(super) const fn jwx(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Algorithm => {
            "after jws.Verify(.., jws.WithMessage(message)): refuse unless message.Signatures()[0].ProtectedHeaders().Algorithm() is jwa.RS256()"
        }
        Kind::Key | Kind::CachedToken => {
            "jws.Verify([]byte(token), jws.WithKeySet(keys), ..) for each token, not jwt.ParseInsecure or jwt.WithVerify(false)"
        }
        Kind::KeyFromToken | Kind::SecondKey | Kind::Fetch => {
            "jws.WithKeySet(keys) with keys from cache.Lookup(ctx, issuer+\"/.well-known/jwks.json\"), not jws.WithVerifyAuto"
        }
        Kind::Type => "if typ, _ := header.Type(); typ != \"at+jwt\" { refuse }",
        Kind::Audience => "jwt.Validate(claims, jwt.WithAudience(audience), ..)",
        Kind::Issuer => "jwt.Validate(claims, jwt.WithIssuer(issuer), ..)",
        Kind::Expiry => "jwt.Validate(claims, jwt.WithRequiredClaim(\"exp\"), jwt.WithAcceptableSkew(30*time.Second), ..)",
        Kind::NotBefore => "call jwt.Validate, without jwt.WithResetValidators and with at most 60 s of jwt.WithAcceptableSkew",
        Kind::Claims => "jwt.Validate(claims, jwt.WithRequiredClaim(\"sub\"), ..) for each of exp, iat, sub, client_id and jti",
        Kind::Binding => "if claims.Has(\"cnf\") { refuse }",
        Kind::Critical => "jws.Verify(.., jws.WithCritValidation(true))",
        Kind::Scope => "if _ = claims.Get(\"scope\", &granted); !slices.Contains(strings.Split(granted, \" \"), scope) { answer 403 }",
        Kind::KeyFetches => {
            "cache.Register(ctx, url, jwk.WithMinInterval(time.Minute), ..), and cache.Lookup instead of jwk.Fetch for each request"
        }
        Kind::Form => "jws.Verify(.., jws.WithCompact())",
        _ => return net_http(kind),
    })
}
