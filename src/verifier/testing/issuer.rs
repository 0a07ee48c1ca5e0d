//! The testing issuer.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::signature::{self, RsaEncoding, RsaKeyPair};
use serde_json::{Map, Value};
use tokio::{net::TcpListener, task::AbortHandle};

use super::{
    Behavior,
    listed::ListedStatuses,
    listener,
    published::{IssuerKey, Published, Shared},
};
use crate::{
    clock::{Clock, ManualClock, SystemClock},
    protocol,
    verifier::{Builder, Verifier},
};

/// An issuer in this process, on a loopback address. It stops when it is dropped.
#[derive(Debug)]
pub struct Issuer {
    shared: Arc<Shared>,
    listening: Option<AbortHandle>,
}

impl Issuer {
    /// Starts an issuer at a free port of 127.0.0.1, with one RSA key of 2,048 bits. Its clock shows the present, and stands still.
    ///
    /// # Errors
    ///
    /// If no port can be bound or no key can be generated.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        Self::serve(listener, &url)
    }

    /// Starts an issuer with this issuer identifier, for an API that is configured with it. The keys are at `/.well-known/jwks.json` below it, and the
    /// metadata at all well-known paths. The listener answers plain HTTP: for an `https` identifier, put what terminates TLS in front.
    ///
    /// # Errors
    ///
    /// If the identifier is invalid or no key can be generated.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn serve(listener: TcpListener, url: &str) -> io::Result<Self> {
        let mut issuer = Self::closed(url)?;
        issuer.listen(listener);
        Ok(issuer)
    }

    /// An issuer that answers once it [listens](Self::listen). What it publishes can be changed before.
    pub(crate) fn closed(url: &str) -> io::Result<Self> {
        let identifier = url.parse::<protocol::Issuer>().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let published = Published {
            keys: vec![IssuerKey::generate()?],
            signs: None,
            others: Vec::new(),
            generation: 1,
            max_age: Duration::from_secs(600),
            metadata_answer: Behavior::Normal,
            key_answer: Behavior::Normal,
            last_key_request: HashMap::new(),
            list: ListedStatuses::new(),
            list_answer: Behavior::Normal,
            last_list_request: HashMap::new(),
            keys_route: None,
            claims: Map::new(),
        };
        let shared = Arc::new(Shared {
            url: url.to_owned(),
            path: identifier.path().to_owned(),
            clock: ManualClock::at(SystemClock.now()),
            published: Mutex::new(published),
            connections: AtomicU64::new(0),
            key_fetches: AtomicU64::new(0),
            metadata_fetches: AtomicU64::new(0),
            list_fetches: AtomicU64::new(0),
            other_requests: AtomicU64::new(0),
            other_paths: Mutex::default(),
            attacker: OnceLock::new(),
        });
        Ok(Self { shared, listening: None })
    }

    /// Answers at `listener` from now on.
    pub(crate) fn listen(&mut self, listener: TcpListener) {
        let listening = tokio::spawn(listener::listen(listener, Arc::clone(&self.shared)));
        self.listening = Some(listening.abort_handle());
    }

    /// Its issuer identifier.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// Its clock. Use it for everything that must share its time.
    #[must_use]
    pub fn clock(&self) -> &ManualClock {
        &self.shared.clock
    }

    /// Begins a verifier of its tokens for an API, with its clock.
    pub fn verifier(&self, audience: impl Into<String>) -> Builder {
        Verifier::for_issuer(self.url()).audience(audience).clock(Arc::new(self.shared.clock.clone()))
    }

    /// The id of the key that signs tokens.
    #[must_use]
    pub fn kid(&self) -> String {
        self.shared.kid()
    }

    /// Signs with a new key from now on. The old keys stay published. Returns the id of the new key.
    ///
    /// # Errors
    ///
    /// If no key can be generated.
    pub fn rotate(&self) -> io::Result<String> {
        let key = IssuerKey::generate()?;
        let kid = key.public.kid().to_owned();
        self.change(|published| {
            published.keys.push(key);
            published.signs = None;
        });
        Ok(kid)
    }

    /// Signs with this one of its keys from now on, until the next [`rotate`](Self::rotate). So a key can be published before it signs.
    pub fn sign_with(&self, kid: &str) {
        self.published().signs = Some(kid.to_owned());
    }

    /// Stops publishing a key and signing with it. After the last one, the set is empty.
    pub fn withdraw(&self, kid: &str) {
        self.change(|published| {
            published.keys.retain(|key| key.public.kid() != kid);
            published.others.retain(|key| key["kid"] != kid);
        });
    }

    /// Publishes a further entry in the document, after the keys.
    pub fn publish(&self, jwk: Value) {
        self.change(|published| published.others.push(jwk));
    }

    /// Serves the keys at this path of its origin too, and names it in the metadata.
    pub fn serve_keys_at(&self, path: &str) {
        self.change(|published| published.keys_route = Some(path.to_owned()));
    }

    /// Gives every token that is built from now on a further claim, or another value of one.
    pub fn always_claim(&self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        self.change(|published| drop(published.claims.insert(name.to_owned(), value)));
    }

    /// Sets how long its keys may be cached. The default is 10 min.
    pub fn set_max_age(&self, max_age: Duration) {
        self.change(|published| published.max_age = max_age);
    }

    /// Sets how it answers requests for its keys.
    pub fn answer_keys(&self, answer: Behavior) {
        self.change(|published| published.key_answer = answer);
    }

    /// Sets how it answers requests for its metadata.
    pub fn answer_metadata(&self, answer: Behavior) {
        self.change(|published| published.metadata_answer = answer);
    }

    /// Stops answering.
    pub fn go_down(&self) {
        self.answer_metadata(Behavior::Down);
        self.answer_keys(Behavior::Down);
        self.answer_status_list(Behavior::Down);
    }

    /// Answers correctly again.
    pub fn come_back(&self) {
        self.answer_metadata(Behavior::Normal);
        self.answer_keys(Behavior::Normal);
        self.answer_status_list(Behavior::Normal);
    }

    /// The number of connections to it, including those that have ended.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The number of requests for its keys, including those without an answer.
    #[must_use]
    pub fn key_fetches(&self) -> u64 {
        self.shared.key_fetches.load(Ordering::SeqCst)
    }

    /// The number of requests for its metadata, including those without an answer.
    #[must_use]
    pub fn metadata_fetches(&self) -> u64 {
        self.shared.metadata_fetches.load(Ordering::SeqCst)
    }

    /// The number of requests for anything else, such as the `jku` of a hostile token.
    #[must_use]
    pub fn other_requests(&self) -> u64 {
        self.shared.other_requests.load(Ordering::SeqCst)
    }

    /// Where the attacker of [hostile tokens](Self::hostile_tokens) publishes its key. A request below this address was caused by a token.
    #[must_use]
    pub fn attacker_url(&self) -> String {
        self.shared.attacker_url("")
    }

    /// The paths of these requests, of the first thousand.
    #[must_use]
    pub fn other_paths(&self) -> Vec<String> {
        self.shared.other_paths().clone()
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

    /// Signs any bytes as a token with the current key.
    ///
    /// # Errors
    ///
    /// If every key is withdrawn.
    pub fn sign(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> io::Result<String> {
        self.shared.sign(header, payload)
    }

    /// As [`sign`](Self::sign), for parts that are encoded already.
    pub(super) fn sign_encoded(&self, header: &str, payload: &str) -> io::Result<String> {
        self.sign_by(&signature::RSA_PKCS1_SHA256, header, payload)
    }

    pub(super) fn sign_by(&self, padding: &'static dyn RsaEncoding, header: &str, payload: &str) -> io::Result<String> {
        self.shared.sign_by(padding, header, payload)
    }

    /// The key pair that signs tokens.
    pub(super) fn pair(&self) -> io::Result<Arc<RsaKeyPair>> {
        self.shared.pair()
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn published(&self) -> MutexGuard<'_, Published> {
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
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}
