//! What an API embeds to check tokens by itself, offline.
//!
//! ```
//! use sealwright::verifier::Verifier;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let jwks = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
//! let verifier = Verifier::for_issuer("https://auth.example")
//!     .audience("https://orders.example")
//!     .algorithms(["EdDSA"])                    // leave this out for RS256
//!     .keys(jwks)                               // the issuer's JWKS document
//!     .build()?;
//!
//! match verifier.verify("what stood behind `Authorization: Bearer`") {
//!     Ok(claims) if claims.has_scope("orders:read") => println!("orders of {}", claims.subject()),
//!     Ok(_) => println!("403"),
//!     Err(error) => println!("401: {error}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The keys are those that it was given; fetching them from the issuer, and keeping them fresh, comes next.

mod check;
mod claims;
mod error;
mod members;
mod signature;

use std::{sync::Arc, time::Duration};

pub use claims::Claims;
pub use error::{BuildError, Error};

use crate::{
    clock::{SharedClock, SystemClock},
    protocol::Issuer,
};
use check::Expected;
use signature::KeySet;

/// An algorithm by which tokens can be checked: who checks cannot sign (RFC 7518 section 3.1, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// EdDSA with Ed25519, also by its newer name (RFC 9864).
    EdDsa,
}

impl Algorithm {
    /// The algorithm of this registered name, to the letter: `rs256` and `none` are none.
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "RS384" => Some(Self::Rs384),
            "RS512" => Some(Self::Rs512),
            "PS256" => Some(Self::Ps256),
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

/// Checks the tokens of one issuer for one API. A handle: cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Verifier(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    expected: Expected,
    keys: KeySet,
    clock: SharedClock,
}

/// What a verifier is to be.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    issuer: String,
    audience: Option<String>,
    algorithms: Vec<String>,
    scopes: Vec<String>,
    leeway: Duration,
    max_token_len: usize,
    keys: Option<Vec<u8>>,
    clock: SharedClock,
}

impl Verifier {
    /// Begins a verifier for tokens of `issuer`, which is compared byte by byte.
    pub fn for_issuer(issuer: impl Into<String>) -> Builder {
        Builder {
            issuer: issuer.into(),
            audience: None,
            algorithms: vec!["RS256".to_owned()],
            scopes: Vec::new(),
            leeway: Duration::from_secs(30),
            max_token_len: 16 * 1024,
            keys: None,
            clock: Arc::new(SystemClock),
        }
    }

    /// Checks a token: its header, its signature, then its claims. Never any input or output.
    ///
    /// # Errors
    ///
    /// The first reason to refuse it.
    pub fn verify(&self, token: &str) -> Result<Claims, Error> {
        check::check(token, &self.0.keys, &self.0.expected, self.0.clock.now().seconds())
    }

    /// Keys of the document that are not used, and why; for a log.
    #[must_use]
    pub fn skipped_keys(&self) -> &[String] {
        self.0.keys.skipped()
    }
}

impl Builder {
    /// The name of this API, as the issuer knows it: tokens for other APIs are refused.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// The issuer's keys, as its JWKS document (RFC 7517 section 5); at most 256 KiB and 64 keys. One bad key is skipped.
    pub fn keys(mut self, jwks: impl Into<Vec<u8>>) -> Self {
        self.keys = Some(jwks.into());
        self
    }

    /// The algorithms that this API takes, instead of RS256 alone: RS256, RS384, RS512, PS256, ES256 or EdDSA.
    pub fn algorithms<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.algorithms = names.into_iter().map(Into::into).collect();
        self
    }

    /// A scope token that every token must carry; may be called again for more.
    pub fn require_scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// By how much clocks may differ: 30 s unless set, at most 300 s.
    pub const fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// Bytes of a token at most: 16 KiB unless set. Its header has at most 4 KiB of them.
    pub const fn max_token_len(mut self, bytes: usize) -> Self {
        self.max_token_len = bytes;
        self
    }

    /// The clock to go by.
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Builds the verifier. No input or output.
    ///
    /// # Errors
    ///
    /// When what was asked for could not check tokens right; the text names the mend.
    pub fn build(self) -> Result<Verifier, BuildError> {
        let issuer: Issuer = self.issuer.parse().map_err(BuildError::Issuer)?;
        let audience = self.audience.filter(|audience| !audience.is_empty()).ok_or(BuildError::NoAudience)?;
        let known = |name: &String| Algorithm::from_name(name).ok_or_else(|| BuildError::Algorithm(name.clone()));
        let algorithms = self.algorithms.iter().map(known).collect::<Result<Vec<_>, _>>()?;
        if algorithms.is_empty() {
            return Err(BuildError::NoAlgorithm);
        }
        let leeway = i64::try_from(self.leeway.as_secs()).ok().filter(|leeway| *leeway <= 300);
        let leeway = leeway.ok_or(BuildError::Leeway(self.leeway.as_secs()))?;
        let scopes = self.scopes.iter().map(|scope| scope.parse().map_err(BuildError::Scope)).collect::<Result<Vec<_>, _>>()?;
        let keys = KeySet::parse(&self.keys.ok_or(BuildError::NoKeys)?, &algorithms)?;
        if keys.is_empty() {
            return Err(BuildError::NoUsableKey(keys.skipped().first().cloned().unwrap_or_else(|| "the set is empty".to_owned())));
        }
        let expected = Expected {
            issuer: issuer.to_string(),
            audience,
            algorithms,
            scopes,
            leeway,
            max_token_len: self.max_token_len,
            max_header_len: self.max_token_len.min(4096),
        };
        Ok(Verifier(Arc::new(Inner { expected, keys, clock: self.clock })))
    }
}
