//! Tokens that can be taken back: the position of each token in a status list, and which positions are set.
//!
//! Positions belong to a client or a login, and not to a token, so that no token costs a row or a write.

mod aggregation;
mod known;
mod lists;
mod publisher;
mod rendered;
mod resting;
mod spans;
mod view;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{
    sync::{Mutex, Semaphore},
    time::timeout,
};

pub(crate) use known::Look;
pub(crate) use publisher::{NotPublished, Publisher};
pub(crate) use view::Snapshot;

use known::Known;
use resting::Positions;
use spans::Spans;
use view::View;

use crate::{
    clock::{SharedClock, Timestamp},
    protocol::{Issuer, ServerMetadata, Status, StatusReference},
    server::{
        model::{Client, Login, StatusIndex, StatusListId, StatusSpan, TokensSince},
        settings::{self, Setting, Values, boolean, setting},
        store::{self, Store, within},
    },
};

/// How long a list may be used before it is fetched again. It is a part of the time until every verifier has learned of a revocation.
const TTL: Duration = Duration::from_secs(10);

/// The settings of revocation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// Whether tokens name a position in a status list.
    pub(crate) lists: bool,
    /// The number of positions that a client begins with.
    pub(crate) span: u32,
}

impl Policy {
    pub(crate) const SETTINGS: &'static [Setting] = &[
        setting(
            "status_lists",
            Some("true"),
            "whether tokens name a position in a status list, by which APIs learn of a revocation; without, a revoked token is accepted until it expires",
            "true or false",
        ),
        setting(
            "status_span",
            Some("256"),
            "number of positions that a client begins with; tokens that are revoked one by one take along those with the same position",
            "a power of two from 16 to 65536",
        ),
    ];

    pub(crate) fn read(values: &Values) -> Result<Self, settings::Error> {
        let valid = |span: &u32| span.is_power_of_two() && (16..=StatusSpan::WIDEST).contains(span);
        Ok(Self {
            lists: values.parse("status_lists", boolean)?,
            span: values.parse("status_span", |text| text.parse().ok().filter(valid).ok_or(None))?,
        })
    }
}

/// The revocations that this node knows, as of the last read of the epochs. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Revocations(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    policy: Policy,
    store: Store,
    clock: SharedClock,
    /// The URI of a list, up to its id.
    prefix: String,
    spans: Spans,
    view: ArcSwap<View>,
    /// What the view is made of. Only the task that reads the epochs changes it.
    known: Mutex<Known>,
    /// Look-ups of lists that this node does not know: strangers can name any.
    looking_up: Semaphore,
}

/// Why a token gets no position.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(
        "the client or the user was disabled or deleted, a right was withdrawn from them, or the login has ended, while the client requested a token"
    )]
    Gone,
}

impl Revocations {
    /// Attempts to give a login a position: another login may take the one that was chosen.
    const TRIES: usize = 2;
    /// How many unknown lists are looked up at once.
    const LOOK_UPS: usize = 2;
    /// How long a look-up waits for its turn.
    const TURN_WITHIN: Duration = Duration::from_secs(1);
    /// How long a look-up may take.
    const LOOKED_UP_WITHIN: Duration = Duration::from_secs(2);

    /// Reads all revocations after the first look, however long it takes. `cached` is the number of clients that are cached, and `seen` the highest
    /// epoch of revocations that an earlier run of this node has read: if that is lost, the next look raises the epoch above it.
    pub(crate) async fn open(
        policy: Policy,
        cached: u64,
        store: Store,
        clock: &SharedClock,
        issuer: &Issuer,
        look: Look,
        seen: i64,
    ) -> Result<Self, store::Error> {
        let known = Known::read(&store, &look, seen).await?;
        Ok(Self(Arc::new(Inner {
            policy,
            clock: Arc::clone(clock),
            prefix: format!("{}/", issuer.endpoint(ServerMetadata::STATUS_LISTS_ROUTE)),
            spans: Spans::new(cached),
            view: ArcSwap::from_pointee(known.view()),
            known: Mutex::new(known),
            looking_up: Semaphore::new(Self::LOOK_UPS),
            store,
        })))
    }

    /// Whether tokens name a position in a status list.
    pub(crate) fn are_published(&self) -> bool {
        self.0.policy.lists
    }

    /// Records what a look at the database found, and reads the revocations that are new. If there are many, it reads a part of them, and the next
    /// looks go on; until the last is read, nothing is confirmed.
    pub(crate) async fn confirm(&self, look: Look) -> Result<(), store::Error> {
        let Inner { store, spans, view, known, clock, .. } = &*self.0;
        let mut known = known.lock().await;
        if known.may_differ(&look) {
            known.read_again();
            spans.forget(clock.steady());
        }
        let outcome = known.follow(store, &look).await;
        known.drop_expired(&look, &view.load().sets);
        view.store(Arc::new(known.view()));
        outcome
    }

    /// The time since this node last knew that its revocations were all there are.
    fn confirmed_age(&self) -> Duration {
        self.0.clock.steady().since(self.0.view.load().read_at)
    }

    /// The claim for a token that a client gets for itself. `client` is as it was when the request was decided.
    pub(crate) async fn of_client(&self, client: &Client, now: Timestamp) -> Result<Option<Status>, Error> {
        if !self.0.policy.lists {
            return Ok(None);
        }
        let Inner { spans, store, view, policy, clock, .. } = &*self.0;
        let view = view.load();
        let walk = spans.find(store, client, &view, policy.span, now, clock.steady()).await?;
        Ok(Some(self.claim(&walk.next(&view))))
    }

    /// A position for a login that begins.
    pub(crate) async fn of_new_login(&self, now: Timestamp) -> Result<Option<StatusIndex>, Error> {
        if self.0.policy.lists { Ok(Some(self.0.store.choose_login_position(now).await?)) } else { Ok(None) }
    }

    /// The position of a login's next token. A login has none if it began before there were lists, or if its tokens were revoked while it goes on.
    /// `since` is of the client and the user by whose rights the request was decided.
    pub(crate) async fn of_login(&self, login: &Login, since: TokensSince, now: Timestamp) -> Result<Option<StatusIndex>, Error> {
        if !self.0.policy.lists {
            return Ok(None);
        }
        match &login.status {
            Some(index) => Ok(Some(index.clone())),
            None => self.place(login, since, now).await.map(Some),
        }
    }

    async fn place(&self, login: &Login, since: TokensSince, now: Timestamp) -> Result<StatusIndex, Error> {
        let store = &self.0.store;
        for _ in 0..Self::TRIES {
            let chosen = store.choose_login_position(now).await?;
            if store.set_login_position(login, since, &chosen).await? {
                return Ok(chosen);
            }
            // Another request was faster, the login has ended, a right was withdrawn, or another login took the position. If the login has one,
            // that was given to other rights: the caller checks its own when the token is signed.
            if let Some(given) = store.find_login(&login.id).await?.and_then(|(login, _)| login.status) {
                return Ok(given);
            }
        }
        Err(Error::Gone)
    }

    /// The claim of a token at this position.
    pub(crate) fn claim(&self, index: &StatusIndex) -> Status {
        Status { status_list: StatusReference { idx: index.index.into(), uri: self.uri(&index.list) } }
    }

    /// The URI of a list.
    pub(crate) fn uri(&self, list: &StatusListId) -> String {
        format!("{}{list}", self.0.prefix)
    }

    /// All lists that this node knows.
    fn lists(&self) -> Arc<Positions> {
        Arc::clone(&self.0.view.load().sets)
    }

    /// A list as this node knows it.
    pub(crate) fn snapshot(&self, list: &StatusListId) -> Option<Snapshot> {
        self.0.view.load().snapshot(list)
    }

    /// A list that this node does not know: another node may just have made it.
    pub(crate) async fn look_up(&self, list: &StatusListId) -> Result<Option<Snapshot>, store::Error> {
        let turn = timeout(Self::TURN_WITHIN, self.0.looking_up.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(store::Error::Busy) };
        let view = self.0.view.load_full();
        // The view may be newer than that of the caller, and show positions of the list.
        if let Some(known) = view.snapshot(list) {
            return Ok(Some(known));
        }
        let exists = within(Self::LOOKED_UP_WITHIN, self.0.store.has_status_list(list)).await?;
        Ok(exists.then(|| view.snapshot_of_new()))
    }

    /// The number of positions that are set, and of lists.
    pub(crate) fn counts(&self) -> (u64, usize) {
        self.0.view.load().counts()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::ManualClock, server::store::Opening};

    const NOON: Timestamp = Timestamp::from_seconds(1_795_500_000);

    /// A database without clients, in a folder of its own.
    pub(super) async fn new_database() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("test.db").display()).parse().unwrap();
        let store = Store::open(&store::Policy { url, connections: 2 }, Opening::CreateIfMissing).await.unwrap();
        (folder, store)
    }

    #[tokio::test]
    async fn a_list_that_is_read_while_a_look_up_waits_for_its_turn_is_not_taken_for_a_new_one() {
        let (_folder, store) = new_database().await;
        let clock: SharedClock = Arc::new(ManualClock::at(NOON));
        let look = Look { epoch: 1, read_at: NOON, now: NOON, monotonic: Duration::ZERO, cautious_now: NOON, was_blind: false };
        let (policy, issuer) = (Policy { lists: true, span: 16 }, "https://issuer.example".parse().unwrap());
        let revocations = Revocations::open(policy, 1, store.clone(), &clock, &issuer, look, 0).await.unwrap();
        let list = store.choose_login_position(NOON).await.unwrap().list;
        assert!(revocations.snapshot(&list).is_none(), "it was made since");

        let turns = revocations.0.looking_up.acquire_many(2).await.unwrap();
        let (found, ()) = tokio::join!(revocations.look_up(&list), async {
            let sets = Arc::new(Positions::from([(list.clone(), Arc::new([7].into_iter().collect()))]));
            revocations.0.view.store(Arc::new(View { epoch: 2, read_at: NOON, confirmed_at: NOON, sets, resting: Arc::default() }));
            drop(turns);
        });
        let found = found.unwrap().unwrap();
        assert_eq!((found.epoch, found.set.iter().collect::<Vec<u32>>()), (2, vec![7]));
    }
}
