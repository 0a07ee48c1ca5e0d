//! What a verifier is to be. What could not check tokens right is refused, and the text names the mend.

use std::{io::Read, path::PathBuf, sync::Arc, time::Duration};

use super::{
    Algorithm, BuildError, Verifier,
    check::Expected,
    fetch::Source,
    key_cache::KeyCache,
    one_issuer::{Keys, OneIssuer},
    signature::{KeySet, MAX_SET_LEN},
};
use crate::{
    clock::{SharedClock, SystemClock},
    outbound::endpoint,
    protocol::Issuer,
};

/// What a verifier is to be. Begun by [`Verifier::for_issuer`].
///
/// | | unless set | range |
/// |---|---|---|
/// | [`algorithms`](Self::algorithms) | RS256 | RS256, RS384, RS512, PS256, ES256, EdDSA |
/// | [`leeway`](Self::leeway) | 30 s | 0 to 300 s |
/// | [`max_token_len`](Self::max_token_len) | 16 KiB | any; the header has at most 4 KiB of it |
/// | [`max_stale`](Self::max_stale) | 1 h | 0 to unbounded |
/// | [`fetch_timeout`](Self::fetch_timeout) | 5 s | 1 to 60 s |
///
/// Fixed: RSA keys have 2,048 to 8,192 bits and an odd exponent of at least 3, a key set has at most 64 keys in 256 KiB, a
/// connection to the issuer stands within 2 s, redirects are not followed. Keys are not looked at for the ROCA weakness
/// (CVE-2017-15361): issue with keys that a current library made.
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
    fetch_timeout: Duration,
    keys: KeysFrom,
    clock: SharedClock,
}

/// Where the keys come from.
#[derive(Debug, Clone)]
enum KeysFrom {
    Metadata,
    JwksUri(String),
    Document(Vec<u8>),
    File(PathBuf),
}

impl Builder {
    pub(super) fn new(issuer: String) -> Self {
        Self {
            issuer,
            audience: None,
            algorithms: vec!["RS256".to_owned()],
            scopes: Vec::new(),
            leeway: Duration::from_secs(30),
            max_token_len: 16 * 1024,
            max_stale: Duration::from_secs(3600),
            fetch_timeout: Duration::from_secs(5),
            keys: KeysFrom::Metadata,
            clock: Arc::new(SystemClock),
        }
    }

    /// The name of this API, as the issuer knows it: tokens for other APIs are refused. Required; one API, one name, and the last one counts.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// Where the issuer publishes its keys, for an issuer without metadata (RFC 8414). An `https` URL; `http` for a loopback
    /// address, when the issuer's URL is such a one.
    pub fn jwks_uri(mut self, url: impl Into<String>) -> Self {
        self.keys = KeysFrom::JwksUri(url.into());
        self
    }

    /// The issuer's keys, as its JWKS document (RFC 7517 section 5); at most 256 KiB and 64 keys. Each needs a `kid`, since tokens name
    /// their key by it; of two different ones with one kid and algorithm neither is used. One bad key is skipped, and said in the log and in
    /// [`Verifier::status`]. Nothing
    /// is ever fetched then: who changes keys must build a new verifier.
    pub fn keys(mut self, jwks: impl Into<Vec<u8>>) -> Self {
        self.keys = KeysFrom::Document(jwks.into());
        self
    }

    /// The same from a file, which is read once, by [`build`](Self::build).
    pub fn keys_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.keys = KeysFrom::File(path.into());
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

    /// For how long keys are used after the time at which the issuer wanted them fetched anew, while it does not answer: 1 h unless
    /// set; [`Duration::MAX`] for ever. A key that the issuer withdraws meanwhile is trusted for so long, and for longer by as much
    /// as the machine's clock is set back. With 0 the API answers
    /// 503 soon after the issuer goes down: keys just fetched are used for 10 s and [`fetch_timeout`](Self::fetch_timeout) at least.
    pub const fn max_stale(mut self, max_stale: Duration) -> Self {
        self.max_stale = max_stale;
        self
    }

    /// How long fetching keys may take in all, by the verifier's [clock](Self::clock): 5 s unless set, 1 to 60 s. A token that waits for it waits a second longer at most.
    pub const fn fetch_timeout(mut self, timeout: Duration) -> Self {
        self.fetch_timeout = timeout;
        self
    }

    /// The clock to go by, for tests.
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Builds the verifier. Nothing is fetched: it works while the issuer is down.
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
        let leeway = i64::try_from(self.leeway.as_secs()).ok().filter(|_| self.leeway <= Duration::from_secs(300));
        let leeway = leeway.ok_or_else(|| BuildError::Leeway(self.leeway.as_secs_f64().ceil() as u64))?;
        let scopes = self.scopes.iter().map(|scope| scope.parse().map_err(BuildError::Scope)).collect::<Result<Vec<_>, _>>()?;
        if !(Duration::from_secs(1)..=Duration::from_secs(60)).contains(&self.fetch_timeout) {
            return Err(BuildError::FetchTimeout(self.fetch_timeout.as_millis()));
        }
        let expected = Expected {
            issuer,
            audience,
            algorithms,
            scopes,
            leeway,
            max_token_len: self.max_token_len,
            max_header_len: self.max_token_len.min(4096),
        };
        let fetched = |jwks_uri| {
            let source = Source {
                issuer: expected.issuer.clone(),
                jwks_uri,
                algorithms: expected.algorithms.clone(),
                max_stale: self.max_stale,
                timeout: self.fetch_timeout,
            };
            Keys::Fetched(KeyCache::new(source, Arc::clone(&self.clock)))
        };
        let keys = match self.keys {
            KeysFrom::Metadata => fetched(None),
            KeysFrom::JwksUri(url) => fetched(Some(endpoint(&url, &expected.issuer).ok_or(BuildError::JwksUri(url))?)),
            KeysFrom::Document(document) => Keys::Fixed(fixed(&document, &expected)?),
            KeysFrom::File(path) => {
                // One byte more than is allowed is enough to say that it is too much.
                let read = std::fs::File::open(&path).and_then(|file| {
                    let mut document = Vec::new();
                    file.take(MAX_SET_LEN as u64 + 1).read_to_end(&mut document).map(|_| document)
                });
                let unreadable = |error: std::io::Error| BuildError::KeysFile { path: path.display().to_string(), why: error.to_string() };
                Keys::Fixed(fixed(&read.map_err(unreadable)?, &expected)?)
            }
        };
        Ok(Verifier::of(vec![Arc::new(OneIssuer { expected, keys, clock: self.clock })]))
    }
}

fn fixed(document: &[u8], expected: &Expected) -> Result<KeySet, BuildError> {
    let keys = KeySet::parse(document, &expected.algorithms)?;
    if let Some(why) = keys.why_unusable() {
        return Err(why);
    }
    keys.log_skipped(&expected.issuer);
    Ok(keys)
}
