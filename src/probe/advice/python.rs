//! Libraries for Python.

use crate::probe::kind::Kind;

/// PyJWT with its `PyJWKClient`.
pub(super) const fn pyjwt(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Algorithm => "jwt.decode(token, key, algorithms=[\"RS256\"], ..): not the alg of the header",
        Kind::Key | Kind::CachedToken => {
            "jwt.decode(token, keys.get_signing_key_from_jwt(token), ..) for each token, without options={\"verify_signature\": False}"
        }
        Kind::KeyFromToken | Kind::SecondKey | Kind::Fetch => {
            "keys = jwt.PyJWKClient(ISSUER + \"/.well-known/jwks.json\"), and keys.get_signing_key_from_jwt(token)"
        }
        Kind::Type => {
            "decoded = jwt.decode_complete(token, key, ..); if decoded[\"header\"].get(\"typ\") != \"at+jwt\": raise jwt.InvalidTokenError(\"typ\")"
        }
        Kind::Audience => "jwt.decode(token, key, audience=AUDIENCE, ..), without options={\"verify_aud\": False}",
        Kind::Issuer => "jwt.decode(token, key, issuer=ISSUER, ..)",
        Kind::Expiry => "jwt.decode(token, key, leeway=30, options={\"require\": [\"exp\"]}, ..), without verify_exp: False",
        Kind::NotBefore => "leave verify_nbf and verify_iat out of options, and leeway at most 60",
        Kind::Claims => "jwt.decode(token, key, options={\"require\": [\"exp\", \"iat\", \"sub\", \"client_id\", \"jti\"]}, ..)",
        Kind::Binding => "if \"cnf\" in claims: raise jwt.InvalidTokenError(\"bound\")",
        Kind::Critical => "upgrade PyJWT, or: if \"crit\" in jwt.get_unverified_header(token): raise jwt.InvalidTokenError(\"crit\")",
        Kind::Scope => "if not isinstance(claims.get(\"scope\"), str) or SCOPE not in claims[\"scope\"].split(\" \"): answer 403",
        Kind::KeyFetches => {
            "make one jwt.PyJWKClient when the process starts: it fetches for an unknown kid at most once in 30 s (PyJWT 2.15)"
        }
        Kind::Crash => "except (jwt.InvalidTokenError, jwt.PyJWKClientError, RecursionError): answer 401",
        _ => return None,
    })
}
