//! Publishes the status lists: each is signed when its content has changed, and served from memory.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::{
    sync::{OwnedMutexGuard, Semaphore},
    task::{JoinHandle, spawn_blocking},
};

use super::{Revocations, Snapshot, aggregation::Aggregation, rendered::Rendered};
use crate::{
    clock::{SharedClock, Timestamp},
    server::{
        document::Document,
        keys::{KeyRing, SignError},
        meters::Meters,
        model::StatusListId,
        store,
    },
};

/// The shortest time from one signature of a list to the next.
const SIGN_EVERY: Duration = Duration::from_secs(1);
/// The time within which a list is signed after it has changed, unless this node cannot.
const SIGNED_WITHIN: Duration = Duration::from_secs(2);
/// How long an unchanged list is served with the same signature, long before it expires: a verifier that asks without a condition gets a time that is
/// signed, and need not rely on caches that repeat answers.
const SIGN_AGAIN_AFTER: Duration = Duration::from_secs(5 * 60);
/// The same for a caller that has a list of other content: it takes the one with the later time, and must not wait for that until its own is stale.
const RENEW_AFTER: Duration = Duration::from_secs(5);
/// How long a list is kept signed after it was last requested.
const HOLD_FOR: Duration = Duration::from_secs(3600);
/// How many lists are signed at once.
const SIGNED_AT_ONCE: usize = 2;
/// A node that has not confirmed its view for longer does not tell a caller that a list has not changed.
const BLIND_AFTER: Duration = Duration::from_secs(5);

/// The status lists of this node, signed. Clones share them.
#[derive(Clone)]
pub(crate) struct Publisher(Arc<Inner>);

struct Inner {
    revocations: Revocations,
    keys: KeyRing,
    clock: SharedClock,
    meters: Arc<Meters>,
    held: Mutex<HashMap<StatusListId, Entry>>,
    aggregation: Aggregation,
    signing: Arc<Semaphore>,
}

struct Entry {
    /// By the steady clock.
    requested_at: Timestamp,
    list: Arc<Held>,
}

/// A list that is kept signed.
#[derive(Default)]
struct Held {
    rendered: ArcSwapOption<Rendered>,
    /// Held while the list is signed: all callers that need it wait for one signature.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Whether the view of this node has had it. One that was just made is not there yet.
    was_in_view: AtomicBool,
}

/// A status list as it is answered.
#[derive(Debug)]
pub(crate) struct PublishedList {
    pub(crate) document: Document,
    /// For how long this node has not known that it shows all revocations, or has known that it does not. `None` if it does, as far as it is known.
    pub(crate) outdated_for: Option<Duration>,
}

/// Why a list cannot be answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotPublished {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error("a status list could not be rendered: {0}")]
    Failed(String),
}

type Signing = JoinHandle<Result<Arc<Rendered>, NotPublished>>;

async fn end(signing: Signing) -> Result<Arc<Rendered>, NotPublished> {
    signing.await.unwrap_or_else(|error| Err(NotPublished::Failed(error.to_string())))
}

impl NotPublished {
    /// Whether a retry may succeed.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            // After a revocation of the key, none is active for a moment.
            Self::Sign(error) => matches!(error, SignError::NoActiveKey),
            Self::Failed(_) => false,
        }
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("held", &self.held()).finish_non_exhaustive()
    }
}

impl Publisher {
    pub(crate) fn new(revocations: Revocations, keys: KeyRing, clock: SharedClock, meters: Arc<Meters>) -> Self {
        let (held, signing) = (Mutex::default(), Arc::new(Semaphore::new(SIGNED_AT_ONCE)));
        Self(Arc::new(Inner { revocations, keys, clock, meters, held, aggregation: Aggregation::default(), signing }))
    }

    /// The number of lists that are kept signed.
    pub(crate) fn held(&self) -> usize {
        self.entries().len()
    }

    /// The list as it was last signed. Only one that is not held is signed first. `None` if there is no such list.
    pub(crate) async fn find(&self, id: &StatusListId) -> Result<Option<PublishedList>, NotPublished> {
        let rendered = match self.find_held(id) {
            Some(rendered) => Some(rendered),
            None => self.begin(id).await?,
        };
        Ok(rendered.map(|rendered| PublishedList { document: rendered.document.clone(), outdated_for: self.outdated_for(id, &rendered) }))
    }

    fn outdated_for(&self, id: &StatusListId, rendered: &Rendered) -> Option<Duration> {
        let Inner { revocations, clock, .. } = &*self.0;
        let now = clock.steady();
        // Nothing is known of a list that was just made.
        let since = revocations.snapshot(id).and_then(|known| rendered.outdated_since(&known.set, now));
        let (blind_for, unsigned_for) = (revocations.confirmed_age(), since.map_or(Duration::ZERO, |since| now.since(since)));
        (blind_for > BLIND_AFTER || unsigned_for > SIGNED_WITHIN).then(|| blind_for.max(unsigned_for))
    }

    fn find_held(&self, id: &StatusListId) -> Option<Arc<Rendered>> {
        let mut entries = self.entries();
        let entry = entries.get_mut(id)?;
        entry.requested_at = self.0.clock.steady();
        entry.list.rendered.load_full()
    }

    /// Signs a held list again, unless that was done within the last seconds: for a caller that has one of other content, as from a node that drops
    /// revocations a little earlier or later. If it fails, the list stays as it is.
    pub(crate) async fn renew(&self, id: &StatusListId) {
        let list = self.entries().get(id).map(|entry| Arc::clone(&entry.list));
        let Some(list) = list.filter(|list| self.renewal(id, list).is_some()) else { return };
        let turn = Arc::clone(&list.turn).lock_owned().await;
        // It may have been signed while this caller waited for its turn.
        let Some(snapshot) = self.renewal(id, &list) else { return };
        let signed = match self.sign(id, &list, snapshot, turn).await {
            Ok(signing) => end(signing).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = signed {
            tracing::debug!(%error, "a status list could not be signed again");
        }
    }

    /// What a list shows when it is renewed, if it is time for that.
    fn renewal(&self, id: &StatusListId, list: &Held) -> Option<Snapshot> {
        let (rendered, snapshot) = (list.rendered.load_full()?, self.0.revocations.snapshot(id)?);
        rendered.is_renewed_after(RENEW_AFTER, &snapshot, self.0.clock.steady()).then_some(snapshot)
    }

    /// Signs a list that was not held, and holds it.
    async fn begin(&self, id: &StatusListId) -> Result<Option<Arc<Rendered>>, NotPublished> {
        let revocations = &self.0.revocations;
        let in_view = revocations.snapshot(id);
        let was_in_view = in_view.is_some();
        let snapshot = match in_view {
            Some(snapshot) => snapshot,
            None => match revocations.look_up(id).await? {
                Some(snapshot) => snapshot,
                None => return Ok(None),
            },
        };
        let list = {
            let requested_at = self.0.clock.steady();
            Arc::clone(&self.entries().entry(id.clone()).or_insert_with(|| Entry { requested_at, list: Arc::default() }).list)
        };
        // The next view may show that it is gone.
        list.was_in_view.fetch_or(was_in_view, Relaxed);
        let turn = Arc::clone(&list.turn).lock_owned().await;
        if let Some(rendered) = list.rendered.load_full() {
            return Ok(Some(rendered));
        }
        end(self.sign(id, &list, snapshot, turn).await?).await.map(Some)
    }

    /// The URIs of all lists, of at most `count`, as they are answered.
    pub(crate) fn aggregation(&self, count: usize) -> Document {
        let revocations = &self.0.revocations;
        self.0.aggregation.document(&revocations.lists(), count, |id| revocations.uri(id))
    }

    /// Signs the held lists again whose content or key has changed or whose signature is old. Drops those that are gone, and those that are
    /// not requested any more. Returns the first failure, after all others.
    pub(crate) async fn refresh(&self) -> Result<(), NotPublished> {
        let now = self.0.clock.steady();
        let held: Vec<_> = {
            let mut entries = self.entries();
            entries.retain(|_, entry| now.since(entry.requested_at) < HOLD_FOR);
            entries.iter().map(|(id, entry)| (id.clone(), Arc::clone(&entry.list))).collect()
        };
        // Without a key, the signatures of the last one are better than none.
        let kid = self.0.keys.publication_key(self.0.clock.now()).ok().map(|key| key.kid().to_owned());
        let mut signing = Vec::new();
        for (id, list) in held {
            if let Some(snapshot) = self.due(&id, &list, kid.as_deref(), now) {
                let turn = Arc::clone(&list.turn).lock_owned().await;
                signing.push(self.sign(&id, &list, snapshot, turn).await);
            }
        }
        let mut outcome = Ok(());
        for signed in signing {
            let ended = match signed {
                Ok(signed) => end(signed).await.map(drop),
                Err(error) => Err(error),
            };
            outcome = outcome.and(ended);
        }
        outcome
    }

    /// What a held list must show, unless its signature may stay. `kid` is the key that would sign.
    fn due(&self, id: &StatusListId, list: &Held, kid: Option<&str>, now: Timestamp) -> Option<Snapshot> {
        // Without a signature, it is signed at the next request.
        let rendered = list.rendered.load_full()?;
        let Some(snapshot) = self.0.revocations.snapshot(id) else {
            if list.was_in_view.load(Relaxed) {
                self.entries().remove(id);
            }
            return None;
        };
        list.was_in_view.store(true, Relaxed);
        let age = now.since(rendered.signed_at);
        let is_old = rendered.is_renewed_after(SIGN_AGAIN_AFTER, &snapshot, now);
        let has_changed = rendered.outdated_since(&snapshot.set, now).is_some() || kid.is_some_and(|kid| kid != rendered.kid);
        (age >= SIGN_EVERY && (is_old || has_changed)).then_some(snapshot)
    }

    /// Begins to sign a list, as soon as few others are being signed: on a blocking thread, and not in the queue of the tokens, which
    /// may be full.
    async fn sign(
        &self,
        id: &StatusListId,
        list: &Arc<Held>,
        snapshot: Snapshot,
        turn: OwnedMutexGuard<()>,
    ) -> Result<Signing, NotPublished> {
        let Inner { revocations, keys, clock, meters, signing, .. } = &*self.0;
        let permit = Arc::clone(signing).acquire_owned().await.map_err(|error| NotPublished::Failed(error.to_string()))?;
        let key = keys.publication_key(clock.now())?;
        let (uri, signed_at) = (revocations.uri(id), clock.steady());
        let (list, count) = (Arc::clone(list), meters.status_lists_signed.clone());
        // It keeps its turn and its result even if the caller disconnects: no one makes this node sign twice.
        Ok(spawn_blocking(move || {
            let rendered = Arc::new(Rendered::sign(uri, snapshot, key, signed_at)?);
            list.rendered.store(Some(Arc::clone(&rendered)));
            count.inc();
            drop((turn, permit));
            Ok(rendered)
        }))
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<StatusListId, Entry>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
