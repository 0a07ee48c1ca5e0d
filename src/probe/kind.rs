//! The kinds of findings: what each means and how to fix it in any language.

use serde::Serialize;
use strum::{Display, IntoStaticStr, VariantArray};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Display, Serialize)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Severity {
    /// Someone gets in who must not.
    Hole,
    /// No one gets in by it alone; the API breaks, leaks tokens, or can be misused against its issuer.
    Weakness,
    /// The API is less strict than the standards. No attacker is known to gain by it.
    Note,
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Display, IntoStaticStr, VariantArray, Serialize)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Kind {
    Algorithm,
    Key,
    KeyFromToken,
    Type,
    Audience,
    Issuer,
    Expiry,
    NotBefore,
    Scope,
    Binding,
    Critical,
    Claims,
    Form,
    CachedToken,
    TrustedHeader,
    Path,
    Method,
    Fetch,
    SecondKey,
    KeyFetches,
    TokenPlace,
    AuthorizationHeader,
    Crash,
    Unavailable,
    Status,
    GoodToken,
    FellOver,
}

impl Kind {
    pub(crate) const ALL: &'static [Self] = Self::VARIANTS;

    /// The kind of the finding if a token is accepted that a verifier refuses with this [code](crate::verifier::Error::code).
    pub(super) fn of_code(code: &str) -> Self {
        match code {
            "algorithm_not_allowed" => Self::Algorithm,
            "unknown_key" | "bad_signature" => Self::Key,
            "wrong_type" => Self::Type,
            "critical" => Self::Critical,
            "missing_claim" | "bad_claim" => Self::Claims,
            "expired" => Self::Expiry,
            "not_yet_valid" => Self::NotBefore,
            "wrong_issuer" => Self::Issuer,
            "wrong_audience" => Self::Audience,
            "binding_required" => Self::Binding,
            "insufficient_scope" => Self::Scope,
            _ => Self::Form,
        }
    }

    /// Its name, such as `token-place`.
    pub(crate) fn name(self) -> &'static str {
        self.into()
    }

    /// What the API did, in a few words.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Algorithm => "accepts algorithms that it must not",
            Self::Key => "accepts signatures that are not by the issuer's key",
            Self::KeyFromToken => "takes the key from the token",
            Self::Type => "accepts other kinds of tokens",
            Self::Audience => "accepts tokens for other APIs",
            Self::Issuer => "accepts tokens of other issuers",
            Self::Expiry => "accepts expired tokens",
            Self::NotBefore => "accepts tokens before their time",
            Self::Scope => "accepts tokens without the scope",
            Self::Binding => "accepts bound tokens without proof",
            Self::Critical => "ignores what the header declares as critical",
            Self::Claims => "accepts tokens without required claims",
            Self::Form => "accepts tokens in an invalid form",
            Self::CachedToken => "remembers tokens by less than their whole text",
            Self::TrustedHeader => "trusts a header that any caller can send",
            Self::Path => "protects one spelling of the path",
            Self::Method => "protects one method",
            Self::Fetch => "fetches addresses that a token names",
            Self::SecondKey => "refuses a key that the issuer publishes",
            Self::KeyFetches => "fetches the keys for every unknown kid",
            Self::TokenPlace => "takes tokens from outside the Authorization header",
            Self::AuthorizationHeader => "reads the Authorization header loosely or too strictly",
            Self::Crash => "fails on a hostile token",
            Self::Unavailable => "answers 503 to a hostile token",
            Self::Status => "answers with the wrong status or without a challenge",
            Self::GoodToken => "refuses a valid token",
            Self::FellOver => "refuses good tokens after the attack, or has stopped",
        }
    }

    /// Why it matters.
    pub(crate) const fn why(self) -> &'static str {
        match self {
            Self::Algorithm => "Anyone can make such a token: unsigned, or signed with a secret that is public. RFC 8725 section 3.1.",
            Self::Key => "Anyone can make a token with any user, client and scope in it. RFC 7515 section 5.2.",
            Self::KeyFromToken => "Anyone can sign a token with a key of their own and send the key along. RFC 8725 section 3.10.",
            Self::Type => {
                "An ID token or a logout token of the same issuer passes for an access token, so its recipient can call the API. RFC 9068 section 4."
            }
            Self::Audience => "Each API and app that receives a token of the issuer can call this API with it. RFC 9068 section 4.",
            Self::Issuer => "A token of another tenant or issuer that shares a key is accepted. RFC 9068 section 4.",
            Self::Expiry => "A token that leaked is usable for longer than the issuer decided, or forever. RFC 9068 section 4.",
            Self::NotBefore => "A token is usable before the issuer decided that it is. RFC 7519 section 4.1.5.",
            Self::Scope => "An app that may do less can do this too. RFC 6750 section 3.1.",
            Self::Binding => "A stolen token that is bound to a key or a certificate works without either. RFC 7800 section 3.1.",
            Self::Critical => "The issuer says that the token must not be used without the extension. RFC 7515 section 4.1.11.",
            Self::Claims => "The API cannot know who issued the token, for which API, for whom, or for how long. RFC 9068 section 2.2.",
            Self::Form => {
                "Two programs can read such a token differently, and one token has several texts, which defeats lists of blocked tokens."
            }
            Self::CachedToken => "An attacker who saw a token, or only its jti, gets in with a forged one.",
            Self::TrustedHeader => "Anyone who reaches the API directly can say who they are, or that they come from inside.",
            Self::Path => "Anyone reaches the handler by the other spelling, without a token.",
            Self::Method => "Anyone reaches the handler by the other method, without a token.",
            Self::Fetch => "Anyone can make the API send requests, also to addresses that only it can reach (SSRF). RFC 8725 section 3.10.",
            Self::SecondKey => "When the issuer rotates its keys, the API refuses every token. RFC 7517 section 5.",
            Self::KeyFetches => "Anyone can make the API send one request to the issuer for each that it receives, and wait for it.",
            Self::TokenPlace => {
                "URLs are written to logs and histories, and cookies are sent by other sites' pages. RFC 9700 section 4.3.2."
            }
            Self::AuthorizationHeader => {
                "A gateway in front can read another token than the API does, or a valid caller is refused. RFC 9110 section 11."
            }
            Self::Crash => "Anyone can fill the error log, and what fails in one place may end a process in another. The answer is 401.",
            Self::Unavailable => "The caller keeps an invalid token and tries it again.",
            Self::Status => {
                "Clients decide by the status and the challenge whether to get another token or another scope. RFC 6750 section 3."
            }
            Self::GoodToken => "A caller with a valid token is refused.",
            Self::FellOver => "A few hundred invalid tokens are enough to stop the API. What it refused after that says nothing about it.",
        }
    }

    /// What to change, in any language.
    pub(crate) const fn fix(self) -> &'static str {
        match self {
            Self::Algorithm => {
                "Give the verification a list of algorithms, such as RS256 alone, and never a secret beside the issuer's keys."
            }
            Self::Key => "Verify each signature with the key that kid names in the issuer's key set; never only decode a token.",
            Self::KeyFromToken => {
                "Take keys only from the issuer's configured key set. Ignore jwk, jku, x5c and x5u, and never build an address or a query from kid or iss."
            }
            Self::Type => "Require the header typ to be at+jwt.",
            Self::Audience => "Require aud to be, or to contain, exactly the API's own audience.",
            Self::Issuer => "Compare iss with the issuer as a whole text.",
            Self::Expiry => "Require exp, and allow 60 s of leeway at most.",
            Self::NotBefore => "Check nbf, and refuse an iat that lies ahead by more than the leeway.",
            Self::Scope => "Split scope at spaces, and require the scope token of the operation as one of its words; answer 403 otherwise.",
            Self::Binding => "Refuse a token with cnf unless the API checks the proof.",
            Self::Critical => "Refuse a token whose header has crit, unless the API implements each extension that it lists.",
            Self::Claims => "Require iss, aud, exp, iat, sub, client_id and jti to be present, and not empty.",
            Self::Form => {
                "Accept three parts in base64url without padding, and JSON objects with unique members. `sealwright guard` in front does."
            }
            Self::CachedToken => "Verify every token, or remember the result under a hash of its whole text until its exp.",
            Self::TrustedHeader => {
                "Accept such headers only from the proxy: listen where only it reaches the API, and let it remove them from requests."
            }
            Self::Path => "Protect the handler itself or the whole API, not a pattern of paths.",
            Self::Method => "Require a token for every method of the path.",
            Self::Fetch => "Fetch keys from one configured address, and never from one that is in a token.",
            Self::SecondKey => {
                "Choose the key by kid from the whole set, and fetch the set again, at most once in 30 s, when a kid is unknown."
            }
            Self::KeyFetches => "Fetch the key set for an unknown kid at most once in 30 s, for the whole process.",
            Self::TokenPlace => "Read the token from the Authorization header and from nowhere else.",
            Self::AuthorizationHeader => {
                "Accept one Authorization header of the scheme Bearer, in any case, with one token; answer 400 or 401 otherwise."
            }
            Self::Crash => "Answer 401 to every error of the verification, whatever its type.",
            Self::Unavailable => "Answer 503 only when the keys cannot be fetched; a token that is invalid is a 401.",
            Self::Status => "Answer 401 with WWW-Authenticate: Bearer without a valid token, and 403 to a valid one without the scope.",
            Self::GoodToken => {
                "Accept aud as a list too, claims that the API does not know, and the tokens of both apps and users if both may call."
            }
            Self::FellOver => "See the log of the API. Limit what one caller can use up.",
        }
    }
}
