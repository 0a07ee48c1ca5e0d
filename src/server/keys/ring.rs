//! The signing keys in memory: read without a lock, replaced as a whole.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::runtime::Handle;

use super::{
    ClockFault, Error, Policy, SealingKeys,
    opened::{Jwks, Keys, PublishedKey},
    plan::{FALLBACK, Occasion, SHORT_LEAD, next_activations},
    rotation,
    signer::SigningKey,
};
use crate::{
    clock::Timestamp,
    jwt::{NotAKeySet, Unverified, Verified},
    protocol::{Algorithm, Ed25519Name},
    server::{
        meters::WorkMeters,
        model::{KeyState, TokenClaims, TokenLifetime},
        store::Store,
        workers::{BoundedWork, WorkError},
    },
};

/// The signing keys of this process, as of the last read of the database. Clones share them.
#[derive(Clone)]
pub(crate) struct KeyRing(Arc<Inner>);

struct Inner {
    policy: Policy,
    sealing: SealingKeys,
    store: Store,
    signing: BoundedWork,
    view: ArcSwap<View>,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("keys", &self.0.view.load().keys).finish_non_exhaustive()
    }
}

/// The keys and when they were last confirmed.
struct View {
    keys: Arc<Keys>,
    jwks: Arc<Jwks>,
    /// When the database last held exactly these keys, by the steady clock.
    read_at: Timestamp,
}

/// The key that signs what this server publishes.
#[derive(Debug)]
pub(crate) struct PublicationKey {
    key: SigningKey,
    ed25519: Ed25519Name,
}

/// Why a token was not signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    #[error(transparent)]
    Work(#[from] WorkError),
    #[error("no signing key is active")]
    NoActiveKey,
    #[error("signing failed: {0}")]
    Failed(String),
}

/// Why it cannot be said whether a token was signed by this issuer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VerifyError {
    #[error("the token names a key that this node may not know yet, because it last read the keys {} s ago", .0.as_secs())]
    Blind(Duration),
    #[error("the published keys cannot be used: {0}")]
    Unusable(&'static str),
}

impl KeyRing {
    /// Opens the keys of the database. Creates the first one if there is none.
    pub(crate) async fn open(
        policy: &Policy,
        sealing: SealingKeys,
        store: Store,
        meters: WorkMeters,
        now: Timestamp,
    ) -> Result<Self, Error> {
        // More at once would not be faster, and what arrives would wait for all of them.
        let at_once = policy.signing_threads.min(Handle::current().metrics().num_workers());
        let signing = BoundedWork::new(at_once, policy.signing_queue, meters);
        if let Some(speed) = policy.rehearsal() {
            tracing::warn!(speed, "signing keys are rotated faster, to rehearse it: this is not for production");
        }
        let keys = rotation::open_or_create(policy, &sealing, &store, now).await?;
        let view = ArcSwap::from_pointee(View::new(Arc::new(keys), policy, now, now)?);
        Ok(Self(Arc::new(Inner { policy: Policy { sealing_key: None, ..policy.clone() }, sealing, store, signing, view })))
    }

    /// Reads all keys again. `read_at` is a time before the epochs were read, by the steady clock; `now` is the wall clock's, by which keys sign.
    pub(crate) async fn reload(&self, read_at: Timestamp, now: Timestamp) -> Result<(), Error> {
        let stored = self.0.store.list_signing_keys().await?;
        let before = Arc::clone(&self.0.view.load().keys);
        let keys = Keys::open(&stored, &self.0.sealing, &before);
        rotation::report_quarantined(&keys, &before);
        self.0.view.store(Arc::new(View::new(Arc::new(keys), &self.0.policy, read_at, now)?));
        Ok(())
    }

    /// Creates and deletes the keys for which it is time at `now`, as far as the clock can be trusted. They are in this ring after the next
    /// [`Self::reload`]. Returns when the next key of each algorithm in use will sign, if rotation goes on as planned.
    pub(crate) async fn rotate(&self, clock: Result<(), ClockFault>, now: Timestamp) -> Result<Vec<(Algorithm, Timestamp)>, Error> {
        let occasion = match clock {
            Ok(()) => Occasion::Running,
            Err(ClockFault::Unconfirmed(_)) => Occasion::Doubt,
            Err(_) => Occasion::WrongClock,
        };
        let Inner { policy, sealing, store, .. } = &*self.0;
        let stored = store.list_signing_keys().await?;
        let keys = Keys::open(&stored, sealing, &self.0.view.load().keys);
        let snapshot = keys.snapshot(&stored, store.list_algorithms_in_use().await?);
        rotation::execute(policy, sealing, store, &snapshot, occasion, now).await?;
        Ok(next_activations(snapshot, policy.schedule(), now))
    }

    /// Records that the database still held these keys at `read_at`, and updates the JWKS if a key has changed its state by time alone.
    pub(crate) fn confirm(&self, read_at: Timestamp, now: Timestamp) {
        let view = self.0.view.load();
        let jwks = if *view.keys.published_kids(now) == *view.jwks.kids {
            Arc::clone(&view.jwks)
        } else {
            match view.keys.render(self.0.policy.ed25519_alg, now) {
                Ok(jwks) => Arc::new(jwks),
                Err(error) => return tracing::error!(%error, "the JWKS could not be rendered"),
            }
        };
        self.0.view.store(Arc::new(View { keys: Arc::clone(&view.keys), jwks, read_at }));
    }

    /// Signs `claims` with the key of `algorithm` that is active at `now`. If the signature takes long, it waits for its turn.
    #[tracing::instrument(level = "debug", skip_all, fields(queued_us))]
    pub(crate) async fn sign(&self, claims: TokenClaims, algorithm: Algorithm, now: Timestamp) -> Result<String, SignError> {
        let signer = self.signer(algorithm, now)?;
        let ed25519 = self.0.policy.ed25519_alg;
        let slow = signer.is_slow();
        let sign = move || signer.sign_token(&claims, ed25519);
        let signed = if slow { self.0.signing.run(sign).await? } else { self.0.signing.run_now(sign) };
        signed.map_err(|error| SignError::Failed(error.to_string()))
    }

    /// Fails if [`Self::sign`] would fail now, because no key is active or too many tokens wait for their turn. For a caller that would do other work
    /// first.
    pub(crate) fn require_place(&self, algorithm: Algorithm, now: Timestamp) -> Result<(), SignError> {
        if self.signer(algorithm, now)?.is_slow() {
            self.0.signing.require_place()?;
        }
        Ok(())
    }

    /// The key that signs for `algorithm` at `now`.
    fn signer(&self, algorithm: Algorithm, now: Timestamp) -> Result<SigningKey, SignError> {
        let view = self.0.view.load();
        // The first key of an algorithm waits until verifiers can know it. A lost one has no substitute: once it has signed, verifiers may
        // accept nothing else.
        let fallback = || view.keys.active(FALLBACK, now).filter(|_| !view.keys.has_lost(algorithm, now));
        view.keys.active(algorithm, now).or_else(fallback).cloned().ok_or(SignError::NoActiveKey)
    }

    /// Checks the signature of a token with the published key that the token names. `None` if the signature is invalid or there is no such key.
    /// `now` is the steady time. It takes tens of microseconds.
    pub(crate) fn verify<'t>(&self, token: Unverified<'t>, now: Timestamp) -> Result<Option<Verified<'t>>, VerifyError> {
        let view = self.0.view.load();
        let keys = view.jwks.set.as_ref().map_err(|&NotAKeySet(why)| VerifyError::Unusable(why))?;
        let Ok(kid) = token.kid() else { return Ok(None) };
        match keys.find(kid, token.algorithm()) {
            Ok(key) => Ok(token.verify(key).ok()),
            // No key signs before every node that reads the keys can know it.
            Err(_) if now.since(view.read_at) < SHORT_LEAD => Ok(None),
            Err(_) => Err(VerifyError::Blind(now.since(view.read_at))),
        }
    }

    /// The key of the default algorithm that is active at `now`, for what this server publishes. It signs on the thread of its caller, so that nothing
    /// published waits behind tokens.
    pub(crate) fn publication_key(&self, now: Timestamp) -> Result<PublicationKey, SignError> {
        let key = self.0.view.load().keys.active(FALLBACK, now).cloned().ok_or(SignError::NoActiveKey)?;
        Ok(PublicationKey { key, ed25519: self.0.policy.ed25519_alg })
    }

    /// The number of signatures that wait for their turn.
    pub(crate) fn waiting(&self) -> usize {
        self.0.signing.waiting()
    }

    /// The kid of each key, its state at `now`, and the time since it was published.
    pub(crate) fn ages(&self, now: Timestamp) -> Vec<(String, &'static str, Duration)> {
        self.0.view.load().keys.ages(now)
    }

    /// The number of damaged keys in the database.
    pub(crate) fn quarantined(&self) -> usize {
        self.0.view.load().keys.quarantined().len()
    }

    /// The kids of the keys that are not withdrawn at `now`.
    pub(crate) fn live_kids(&self, now: Timestamp) -> BTreeSet<String> {
        let ages = self.0.view.load().keys.ages(now).into_iter();
        ages.filter(|(_, state, _)| *state != KeyState::Revoked.as_str()).map(|(kid, ..)| kid).collect()
    }

    /// The JWKS of the published keys.
    pub(crate) fn jwks(&self) -> Arc<Jwks> {
        Arc::clone(&self.0.view.load().jwks)
    }

    /// The keys that verifiers may know at `now`, the newest generation first.
    pub(crate) fn published(&self, now: Timestamp) -> Vec<PublishedKey> {
        self.0.view.load().keys.list_published(now)
    }

    /// How long a verifier may cache the JWKS that it fetches at `now`, by the steady clock: a whole number of seconds, at most an hour.
    ///
    /// A node that last read the keys at S knows every key that will sign before S + lead. At zero it may be missing a key and is not
    /// ready. A node that has read none for a minute may be missing a revocation, so that its JWKS must not be cached for long.
    pub(crate) fn jwks_max_age(&self, now: Timestamp) -> Duration {
        const BLIND_AFTER: Duration = Duration::from_secs(60);
        const LONGEST_WHILE_BLIND: Duration = Duration::from_secs(60);
        let read_at = self.0.view.load().read_at;
        let schedule = self.0.policy.schedule();
        let known_until = read_at + schedule.lead - 2 * schedule.skew;
        let longest = if now.since(read_at) > BLIND_AFTER { LONGEST_WHILE_BLIND } else { schedule.longest_max_age };
        Duration::from_secs(known_until.since(now).min(longest).as_secs())
    }

    /// The longest lifetime of a token that expires before its key is withdrawn.
    pub(crate) fn longest_lifetime(&self) -> Duration {
        TokenLifetime::MAX.duration() / self.0.policy.rehearsal_speed
    }

    /// The interval between looks at the keys. A resource with a new algorithm waits that long for its key to be published.
    pub(crate) fn look_every(&self) -> Duration {
        const LOOK_EVERY: Duration = Duration::from_secs(5);
        (LOOK_EVERY / self.0.policy.rehearsal_speed).max(Duration::from_millis(500))
    }

    /// Whether a key of the default algorithm is active at `now`, or is about to be: after a revocation, none is for a moment.
    pub(crate) fn can_sign(&self, now: Timestamp) -> bool {
        let view = self.0.view.load();
        let takes_over = || view.keys.successor_row(FALLBACK, now).is_some() && view.keys.has_lost(FALLBACK, now);
        view.keys.active(FALLBACK, now).is_some() || takes_over()
    }
}

impl PublicationKey {
    pub(crate) fn kid(&self) -> &str {
        self.key.kid()
    }

    /// Signs claims under this `typ`. Takes about a millisecond, and does not wait for its turn as tokens do: call it where it delays no request.
    pub(crate) fn sign(self, typ: &str, claims: &impl Serialize) -> Result<String, SignError> {
        self.key.sign(typ, claims, self.ed25519).map_err(|error| SignError::Failed(error.to_string()))
    }
}

impl View {
    fn new(keys: Arc<Keys>, policy: &Policy, read_at: Timestamp, now: Timestamp) -> Result<Self, Error> {
        let jwks = Arc::new(keys.render(policy.ed25519_alg, now)?);
        Ok(Self { keys, jwks, read_at })
    }
}
