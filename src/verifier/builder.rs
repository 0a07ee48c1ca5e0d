//! Builds verifiers, and refuses settings with which tokens could not be checked correctly.

use std::{io::Read, path::PathBuf, sync::Arc, time::Duration};

use super::{
    BuildError, Revocation, Verifier,
    check::{Expected, TYPES},
    clients::Clients,
    fetch::KeySource,
    key_cache::{KeyCache, log_skipped},
    one_issuer::{Keys, OneIssuer},
    status_lists::{Rules, StatusLists},
};
use crate::{
    clock::{SharedClock, SystemClock},
    jwt::{Accepted, KeySet, MAX_SET_LEN},
    outbound::endpoint,
    protocol::{Issuer, VerifierName},
};

/// How long status lists are used at most if the API does not set it.
const LONGEST_DEFAULT_STALE: Duration = Duration::from_secs(3600);

/// The settings of a verifier. Made by [`Verifier::for_issuer`].
///
/// | setting | default | range |
/// |---|---|---|
/// | [`algorithms`](Self::algorithms) | RS256 | RS256, RS384, RS512, PS256, ES256, Ed25519 |
/// | [`leeway`](Self::leeway) | 30 s | 0 to 300 s |
/// | [`max_token_len`](Self::max_token_len) | 16 KiB | any; at most 4 KiB of it for the header |
/// | [`max_stale`](Self::max_stale) | 1 h | 0 to unbounded |
/// | [`revocation`](Self::revocation) | lenient; off with given keys | off, lenient, strict |
/// | [`revocation_max_stale`](Self::revocation_max_stale) | as `max_stale`, at most 1 h | 0 to unbounded; only with lenient |
/// | [`fetch_timeout`](Self::fetch_timeout) | 5 s | 1 to 60 s |
/// | [`name`](Self::name) | none | 1 to 64 of `a-z`, `0-9`, `-._:/@` |
///
/// Fixed: RSA keys have 2,048 to 8,192 bits and an odd exponent of at least 3, a key set has at most 64 keys in 256 KiB,
/// connecting to the issuer takes at most 2 s, and redirects are not followed. Keys are not checked for the ROCA weakness
/// (CVE-2017-15361): issue tokens with keys made by a current library.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    issuer: String,
    audience: Option<String>,
    algorithms: Vec<String>,
    scopes: Vec<String>,
    leeway: Duration,
    max_token_len: usize,
    max_stale: Duration,
    revocation: Option<Revocation>,
    revocation_max_stale: Option<Duration>,
    fetch_timeout: Duration,
    name: Option<String>,
    keys: KeysFrom,
    clock: SharedClock,
    /// By how much the pauses between fetches are divided. Only a test changes it.
    pub(super) pause_divisor: u32,
}

/// The source of the keys.
#[derive(Debug, Clone)]
enum KeysFrom {
    Metadata,
    JwksUri(String),
    Document(Vec<u8>),
    File(PathBuf),
}

impl Verifier {
    /// Begins a verifier for tokens of `issuer`, which is compared byte by byte.
    pub fn for_issuer(issuer: impl Into<String>) -> Builder {
        Builder::new(issuer.into())
    }
}

impl Builder {
    fn new(issuer: String) -> Self {
        Self {
            issuer,
            audience: None,
            algorithms: vec!["RS256".to_owned()],
            scopes: Vec::new(),
            leeway: Duration::from_secs(30),
            max_token_len: 16 * 1024,
            max_stale: Duration::from_secs(3600),
            revocation: None,
            revocation_max_stale: None,
            fetch_timeout: Duration::from_secs(5),
            name: None,
            keys: KeysFrom::Metadata,
            clock: Arc::new(SystemClock),
            pause_divisor: 1,
        }
    }

    /// The name of this API at the issuer. Tokens for other APIs are refused. Required; a second call replaces the first.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// The URL of the keys, for an issuer without metadata (RFC 8414). It must be `https`; `http` is allowed for a loopback
    /// address, if the issuer's URL is one too.
    pub fn jwks_uri(mut self, url: impl Into<String>) -> Self {
        self.keys = KeysFrom::JwksUri(url.into());
        self
    }

    /// The issuer's keys, as its JWKS document (RFC 7517 section 5); at most 256 KiB and 64 keys. Each needs a `kid`, because tokens name
    /// their key by it. Two different keys with the same kid and algorithm are both skipped. A skipped key is reported in the log and in
    /// [`Verifier::status`]. Nothing is fetched: to change the keys, build a new verifier.
    pub fn keys(mut self, jwks: impl Into<Vec<u8>>) -> Self {
        self.keys = KeysFrom::Document(jwks.into());
        self
    }

    /// As [`keys`](Self::keys), from a file that [`build`](Self::build) reads once.
    pub fn keys_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.keys = KeysFrom::File(path.into());
        self
    }

    /// The algorithms that this API accepts, instead of only RS256: RS256, RS384, RS512, PS256, ES256 or Ed25519. `EdDSA` is the earlier name of
    /// Ed25519 (RFC 9864); whichever is given, tokens and keys may have either.
    pub fn algorithms<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.algorithms = names.into_iter().map(Into::into).collect();
        self
    }

    /// A scope token that every token must have. Call it again to require more.
    pub fn require_scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// The allowed difference between clocks: 30 s by default, at most 300 s.
    pub const fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// The maximum size of a token: 16 KiB by default. Its header may have at most 4 KiB of it.
    pub const fn max_token_len(mut self, bytes: usize) -> Self {
        self.max_token_len = bytes;
        self
    }

    /// How long keys are used after they are no longer fresh, while the issuer does not answer: 1 h by default;
    /// [`Duration::MAX`] for no limit. A key that the issuer withdraws meanwhile is trusted for that time, plus the time by which
    /// the system clock is set back. With 0, the API answers 503 soon after the issuer goes down: keys just fetched are used for at least 10 s
    /// plus [`fetch_timeout`](Self::fetch_timeout).
    pub const fn max_stale(mut self, max_stale: Duration) -> Self {
        self.max_stale = max_stale;
        self
    }

    /// Whether tokens are looked up in the issuer's status lists. The default is [`Revocation::Lenient`]: a token without the claim `status` is accepted,
    /// so nothing changes with an issuer without lists. With keys that were given ([`keys`](Self::keys), [`keys_file`](Self::keys_file)), it is
    /// [`Revocation::Off`], because nothing is fetched.
    ///
    /// As long as this is not called, a token is also accepted whose claim `status` is of another kind: not an object, an object without `status_list`,
    /// or with a list that does not lie below the issuer. That is logged once. Call this, also with [`Revocation::Lenient`], to refuse such tokens.
    ///
    /// ```
    /// # use sealwright::verifier::{BuildError, Revocation, Verifier};
    /// # fn main() -> Result<(), BuildError> {
    /// let builder = Verifier::for_issuer("https://auth.example").audience("https://orders.example").revocation(Revocation::Strict);
    /// let verifier = builder.clone().build()?;
    ///
    /// let refused = builder.keys(r#"{"keys":[]}"#).build();
    /// assert!(matches!(refused, Err(BuildError::RevocationWithGivenKeys(Revocation::Strict))));
    /// # Ok(()) }
    /// ```
    pub const fn revocation(mut self, revocation: Revocation) -> Self {
        self.revocation = Some(revocation);
        self
    }

    /// With [`Revocation::Lenient`], how long a status list is used after the issuer last confirmed it, and for how long tokens are accepted whose
    /// list could never be fetched: as long as [`max_stale`](Self::max_stale) by default, but at most 1 h; [`Duration::MAX`] for no limit. A token that
    /// is revoked meanwhile is accepted for that time. A list whose `exp` has not passed is used for three times its `ttl` in any case (30 s with
    /// Sealwright). With another mode it has no effect, and [`build`](Self::build) refuses it.
    pub const fn revocation_max_stale(mut self, max_stale: Duration) -> Self {
        self.revocation_max_stale = Some(max_stale);
        self
    }

    /// The time limit for fetching keys or a status list, by the verifier's [clock](Self::clock): 5 s by default, 1 to 60 s. A token that waits for a fetch waits at
    /// most a second longer. The first token may wait for two: of the keys, and of its status list.
    pub const fn fetch_timeout(mut self, timeout: Duration) -> Self {
        self.fetch_timeout = timeout;
        self
    }

    /// The name of this API, which the issuer sees when keys are fetched. Its operator then knows which APIs do not have the next signing key
    /// yet. It proves nothing, so never rely on it, and it is not a secret.
    ///
    /// It is sent as the comment of `User-Agent` (RFC 9110 section 10.1.5), as in `sealwright-verifier/0.1.0 (orders-api)`: so it also passes
    /// proxies that remove unknown headers, and proxies may log it. Several processes of an API may have the same name; the issuer
    /// distinguishes them by their addresses.
    ///
    /// ```
    /// # use sealwright::verifier::{BuildError, Verifier};
    /// # fn main() -> Result<(), BuildError> {
    /// let verifier = Verifier::for_issuer("https://auth.example").audience("https://orders.example").name("orders-api").build()?;
    ///
    /// let refused = Verifier::for_issuer("https://auth.example").audience("https://orders.example").name("Orders API").build();
    /// assert!(matches!(refused, Err(BuildError::Name(_))));
    /// # Ok(()) }
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The clock, for tests.
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Builds the verifier. Does no network I/O, so it works while the issuer is down.
    ///
    /// # Errors
    ///
    /// If tokens could not be checked correctly with these settings. The message says how to fix them.
    pub fn build(self) -> Result<Verifier, BuildError> {
        let issuer: Issuer = self.issuer.parse().map_err(BuildError::Issuer)?;
        let audience = self.audience.filter(|audience| !audience.is_empty()).ok_or(BuildError::NoAudience)?;
        let known = |name: &String| name.parse().map_err(|_| BuildError::Algorithm(name.clone()));
        let algorithms = self.algorithms.iter().map(known).collect::<Result<Vec<_>, _>>()?;
        if algorithms.is_empty() {
            return Err(BuildError::NoAlgorithm);
        }
        let given = matches!(self.keys, KeysFrom::Document(_) | KeysFrom::File(_));
        let mode = self.revocation.unwrap_or(if given { Revocation::Off } else { Revocation::Lenient });
        if given && mode != Revocation::Off {
            return Err(BuildError::RevocationWithGivenKeys(mode));
        }
        if self.revocation_max_stale.is_some() && mode != Revocation::Lenient {
            return Err(BuildError::RevocationMaxStale(mode));
        }
        let leeway = i64::try_from(self.leeway.as_secs()).ok().filter(|_| self.leeway <= Duration::from_secs(300));
        let leeway = leeway.ok_or_else(|| BuildError::Leeway(self.leeway.as_secs_f64().ceil() as u64))?;
        let scopes = self.scopes.iter().map(|scope| scope.parse().map_err(BuildError::Scope)).collect::<Result<Vec<_>, _>>()?;
        if !(Duration::from_secs(1)..=Duration::from_secs(60)).contains(&self.fetch_timeout) {
            return Err(BuildError::FetchTimeout(self.fetch_timeout.as_millis()));
        }
        let name: Option<VerifierName> = self.name.map(|name| name.parse().map_err(BuildError::Name)).transpose()?;
        let accepted = Accepted { algorithms, types: TYPES, max_len: self.max_token_len, max_header_len: self.max_token_len.min(4096) };
        let expected = Expected { issuer, audience, accepted, scopes, leeway };
        let fetched = |jwks_uri| {
            let source = KeySource {
                issuer: expected.issuer.clone(),
                jwks_uri,
                algorithms: expected.accepted.algorithms.clone(),
                max_stale: self.max_stale,
                clients: Clients::new(VerifierName::user_agent(name.as_ref()), self.fetch_timeout, Arc::clone(&self.clock)),
                timeout: self.fetch_timeout,
                pause_divisor: self.pause_divisor,
            };
            Keys::Fetched(Arc::new(KeyCache::new(source, Arc::clone(&self.clock))))
        };
        let keys = match self.keys {
            KeysFrom::Metadata => fetched(None),
            KeysFrom::JwksUri(url) => fetched(Some(endpoint(&url, &expected.issuer).ok_or(BuildError::JwksUri(url))?)),
            KeysFrom::Document(document) => Keys::Fixed(fixed(&document, &expected)?),
            KeysFrom::File(path) => {
                // One byte more than the maximum is enough to detect a file that is too large.
                let read = std::fs::File::open(&path).and_then(|file| {
                    let mut document = Vec::new();
                    file.take(MAX_SET_LEN as u64 + 1).read_to_end(&mut document).map(|_| document)
                });
                let unreadable =
                    |error: std::io::Error| BuildError::KeysFile { path: path.display().to_string(), reason: error.to_string() };
                Keys::Fixed(fixed(&read.map_err(unreadable)?, &expected)?)
            }
        };
        let status_lists = match &keys {
            Keys::Fetched(keys) if mode != Revocation::Off => {
                // Keys may be used for longer than that: a key is withdrawn far more rarely than a token is revoked.
                let max_stale = self.revocation_max_stale.unwrap_or_else(|| self.max_stale.min(LONGEST_DEFAULT_STALE));
                let rules = Rules { mode, chosen: self.revocation.is_some(), max_stale };
                Some(Arc::new(StatusLists::new(rules, Arc::clone(keys), leeway, Arc::clone(&self.clock))))
            }
            Keys::Fetched(_) | Keys::Fixed(_) => None,
        };
        Ok(Verifier::of(vec![Arc::new(OneIssuer { expected, keys, status_lists, clock: self.clock })]))
    }
}

fn fixed(document: &[u8], expected: &Expected) -> Result<KeySet, BuildError> {
    let keys = KeySet::parse(document, &expected.accepted.algorithms)?;
    if let Some(why) = keys.why_unusable() {
        return Err(BuildError::NoUsableKey(why));
    }
    log_skipped(&keys, &expected.issuer);
    Ok(keys)
}
