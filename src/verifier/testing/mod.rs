//! An issuer for your own tests: it signs real tokens, publishes real keys over real HTTP, and has a clock that you move.
//!
//! It needs the feature `testing`, which belongs among your `[dev-dependencies]`: no server, no database, no OpenSSL.
//!
//! ```
//! use std::time::Duration;
//!
//! use sealwright::verifier::testing::Issuer;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
//! let issuer = Issuer::start().await?;
//! let verifier = issuer.verifier("https://orders.example").build()?;
//!
//! let token = issuer.token("https://orders.example").scope("orders:read").sign()?;
//! assert!(verifier.verify(&token).await?.has_scope("orders:read"));
//!
//! issuer.clock().advance(Duration::from_secs(631));
//! assert_eq!(verifier.verify(&token).await.unwrap_err().code(), "expired");
//!
//! // What attackers send, each with the reason for which it must be refused.
//! for hostile in issuer.hostile_tokens("https://orders.example", "orders:read")? {
//!     assert_eq!(verifier.verify(&hostile.token).await.unwrap_err().code(), hostile.code, "{}", hostile.name);
//! }
//! # Ok(()) }) }
//! ```
//!
//! # Testing an API
//!
//! Let the API take its [`Verifier`] from outside, as an argument of the function that makes its router. Production names the real
//! issuer; a test gives it [`Issuer::verifier`]. All else is what runs in production: the tokens are signed, the keys are fetched over
//! HTTP, and the layer stands before the handlers. `examples/tested_api.rs` is such an API with its tests, to copy.
//!
//! | what to hold | how |
//! |---|---|
//! | each route wants its scope | [`Issuer::token`] with one scope, then the other; [`Issuer::tokens_without_scope`] for lookalikes, each 403 |
//! | a user sees what is theirs alone | [`TokenBuilder::user`] with two subjects |
//! | an app is told from a user | [`TokenBuilder::client`] beside [`TokenBuilder::user`] |
//! | claims of your own | [`TokenBuilder::claim`], and the same token without it |
//! | no route was forgotten | [`Issuer::hostile_tokens`] to every route, each 401 (400 where it is not even written as a token), and none reaches a handler; its page says which do not travel over HTTP |
//! | a token ends | [`TokenBuilder::lifetime`], then [`ManualClock::advance`](crate::clock::ManualClock::advance) on [`Issuer::clock`] past it and the leeway of 30 s; no test sleeps |
//! | the issuer is down | [`Issuer::go_down`] before the first request: 503 with `Retry-After`, never 401; after it: served by the keys in memory; back again: [`Issuer::come_back`], and its clock on by what `Retry-After` said |
//! | a key is replaced | [`Issuer::rotate`], and its clock 10 s on: tokens of the new key are good |
//! | a key is withdrawn | [`Issuer::withdraw`], a token with a [`lifetime`](TokenBuilder::lifetime) of two hours, its clock an hour on, and a wait until [`Issuer::key_fetches`] has grown: the fetch runs in the background |
//! | the issuer answers nonsense | [`Issuer::answer_keys`] with each [`Answer`] |
//!
//! An API in another language is tested against the same issuer: `examples/test_issuer.rs` serves it and prints the tokens.

mod hostile;
mod listener;
mod token;

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{self, KeyPair, RsaEncoding, RsaKeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::AbortHandle};

pub use hostile::Hostile;
pub use token::TokenBuilder;

use super::{Builder, Verifier};
use crate::{
    clock::{Clock, ManualClock, SystemClock},
    protocol::{Algorithm, PublicJwk, ServerMetadata},
};

/// An issuer in this process, at an address of this machine. It stops when it is dropped.
#[derive(Debug)]
pub struct Issuer {
    shared: Arc<Shared>,
    listening: AbortHandle,
}

/// How the issuer answers who asks for its metadata or its keys.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Answer {
    /// As it should.
    #[default]
    Lawful,
    /// Not at all: connections end without an answer.
    Down,
    /// It takes the request, and never answers.
    Silent,
    /// With this status and an empty body.
    Status(u16),
    /// With 302 to this URL.
    Redirect(String),
    /// With 200 and this body.
    Body(Vec<u8>),
    /// With 200 and a body that never ends.
    Endless,
    /// As it should, one byte per second of the issuer's clock.
    Trickle,
}

#[derive(Debug)]
struct Shared {
    url: String,
    clock: ManualClock,
    published: Mutex<Published>,
    key_fetches: AtomicU64,
    metadata_fetches: AtomicU64,
    /// Requests for anything else: nobody should be led to make one.
    other_requests: AtomicU64,
}

#[derive(Debug)]
struct Published {
    /// The last one signs.
    keys: Vec<Key>,
    /// What else is in the document.
    others: Vec<Value>,
    /// Raised by every change: the `ETag`.
    generation: u64,
    max_age: Duration,
    metadata_answer: Answer,
    key_answer: Answer,
    /// The headers of the last request for the keys, by lower-case name.
    last_key_request: HashMap<String, String>,
}

#[derive(Debug)]
struct Key {
    pair: Arc<RsaKeyPair>,
    public: PublicJwk,
}

impl Key {
    fn generate() -> io::Result<Self> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(io::Error::other)?;
        let member = |bytes: &[u8]| encode(bytes);
        let public = pair.public_key();
        let n = member(public.modulus().big_endian_without_leading_zero());
        let e = member(public.exponent().big_endian_without_leading_zero());
        let thumbprint = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, PublicJwk::rsa_thumbprint_input(&n, &e).as_bytes());
        Ok(Self { public: PublicJwk::rsa(encode(thumbprint), Algorithm::Rs256, n, e), pair: Arc::new(pair) })
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

impl Issuer {
    /// Starts an issuer at a free port of 127.0.0.1, with one RSA key of 2,048 bits. Its clock shows the present, and stands still.
    ///
    /// # Errors
    ///
    /// When no port can be bound or no key can be made.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let published = Published {
            keys: vec![Key::generate()?],
            others: Vec::new(),
            generation: 1,
            max_age: Duration::from_secs(600),
            metadata_answer: Answer::Lawful,
            key_answer: Answer::Lawful,
            last_key_request: HashMap::new(),
        };
        let shared = Arc::new(Shared {
            url: format!("http://{}", listener.local_addr()?),
            clock: ManualClock::at(SystemClock.now()),
            published: Mutex::new(published),
            key_fetches: AtomicU64::new(0),
            metadata_fetches: AtomicU64::new(0),
            other_requests: AtomicU64::new(0),
        });
        let listening = tokio::spawn(listener::listen(listener, Arc::clone(&shared))).abort_handle();
        Ok(Self { shared, listening })
    }

    /// Its issuer identifier.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// Its clock. Give it to whatever is to live in the same time.
    #[must_use]
    pub fn clock(&self) -> &ManualClock {
        &self.shared.clock
    }

    /// Begins a verifier of its tokens for an API, going by its clock.
    pub fn verifier(&self, audience: impl Into<String>) -> Builder {
        Verifier::for_issuer(self.url()).audience(audience).clock(Arc::new(self.shared.clock.clone()))
    }

    /// Begins a token for an API: of the client `billing`, good for 10 min, without any scope, unless told otherwise.
    pub fn token(&self, audience: impl Into<String>) -> TokenBuilder<'_> {
        TokenBuilder::new(self, audience.into())
    }

    /// The id of the key that signs.
    #[must_use]
    pub fn kid(&self) -> String {
        self.published().keys.last().map(|key| key.public.kid().to_owned()).unwrap_or_default()
    }

    /// Signs with a new key from now on; the old ones stay published. Gives the new key's id.
    ///
    /// # Errors
    ///
    /// When no key can be made.
    pub fn rotate(&self) -> io::Result<String> {
        let key = Key::generate()?;
        let kid = key.public.kid().to_owned();
        self.change(|published| published.keys.push(key));
        Ok(kid)
    }

    /// Publishes a key no longer, nor signs with it; if it is the last one, what is left is an empty set.
    pub fn withdraw(&self, kid: &str) {
        self.change(|published| {
            published.keys.retain(|key| key.public.kid() != kid);
            published.others.retain(|key| key["kid"] != kid);
        });
    }

    /// Publishes something more in the document, behind the keys.
    pub fn publish(&self, jwk: Value) {
        self.change(|published| published.others.push(jwk));
    }

    /// For how long its keys may be kept: 10 min unless set.
    pub fn set_max_age(&self, max_age: Duration) {
        self.change(|published| published.max_age = max_age);
    }

    /// How it answers who asks for its keys from now on.
    pub fn answer_keys(&self, answer: Answer) {
        self.change(|published| published.key_answer = answer);
    }

    /// How it answers who asks for its metadata from now on.
    pub fn answer_metadata(&self, answer: Answer) {
        self.change(|published| published.metadata_answer = answer);
    }

    /// Answers nobody any more.
    pub fn go_down(&self) {
        self.answer_metadata(Answer::Down);
        self.answer_keys(Answer::Down);
    }

    /// Answers as it should again.
    pub fn come_back(&self) {
        self.answer_metadata(Answer::Lawful);
        self.answer_keys(Answer::Lawful);
    }

    /// How often its keys were asked for, also when it did not answer.
    #[must_use]
    pub fn key_fetches(&self) -> u64 {
        self.shared.key_fetches.load(Ordering::SeqCst)
    }

    /// How often its metadata were asked for, also when it did not answer.
    #[must_use]
    pub fn metadata_fetches(&self) -> u64 {
        self.shared.metadata_fetches.load(Ordering::SeqCst)
    }

    /// How often anything else was asked for, such as what the `jku` of a hostile token points to.
    #[must_use]
    pub fn other_requests(&self) -> u64 {
        self.shared.other_requests.load(Ordering::SeqCst)
    }

    /// A header of the last request for its keys.
    #[must_use]
    pub fn last_key_request(&self, header: &str) -> Option<String> {
        self.published().last_key_request.get(&header.to_ascii_lowercase()).cloned()
    }

    /// Its JWKS document, for [`Builder::keys`].
    #[must_use]
    pub fn jwks(&self) -> String {
        self.shared.jwks()
    }

    /// A token of these very bytes, signed by the key that signs, whatever they are.
    ///
    /// # Errors
    ///
    /// When every key is withdrawn.
    pub fn sign(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> io::Result<String> {
        self.sign_encoded(&encode(header), &encode(payload))
    }

    /// The same for parts that are encoded already.
    fn sign_encoded(&self, header: &str, payload: &str) -> io::Result<String> {
        self.sign_by(&signature::RSA_PKCS1_SHA256, header, payload)
    }

    fn sign_by(&self, padding: &'static dyn RsaEncoding, header: &str, payload: &str) -> io::Result<String> {
        let pair = self.pair()?;
        sign(&pair, padding, &format!("{header}.{payload}"))
    }

    /// The key pair that signs.
    fn pair(&self) -> io::Result<Arc<RsaKeyPair>> {
        let pair = self.published().keys.last().map(|key| Arc::clone(&key.pair));
        pair.ok_or_else(|| io::Error::other("every key of this issuer is withdrawn: `rotate` makes a new one"))
    }

    fn published(&self) -> MutexGuard<'_, Published> {
        self.shared.published()
    }

    fn change(&self, change: impl FnOnce(&mut Published)) {
        let mut published = self.published();
        change(&mut published);
        published.generation += 1;
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Shared {
    fn published(&self) -> MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn jwks(&self) -> String {
        let published = self.published();
        let keys = published.keys.iter().map(|key| json!(key.public)).chain(published.others.iter().cloned());
        json!({ "keys": keys.collect::<Vec<_>>() }).to_string()
    }

    fn metadata(&self) -> String {
        let keys = format!("{}{}", self.url, ServerMetadata::JWKS_ROUTE);
        json!({ "issuer": self.url, "jwks_uri": keys }).to_string()
    }
}

/// `signed`, and its signature.
fn sign(pair: &RsaKeyPair, padding: &'static dyn RsaEncoding, signed: &str) -> io::Result<String> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(padding, &SystemRandom::new(), signed.as_bytes(), &mut signature).map_err(io::Error::other)?;
    Ok(format!("{signed}.{}", encode(signature)))
}
