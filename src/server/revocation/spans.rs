//! The spans of clients, and the order in which tokens take their positions.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwapOption;
use moka::future::Cache;

use super::{Error, view::View};
use crate::{
    clock::Timestamp,
    entropy,
    protocol::ClientId,
    server::{
        model::{Client, ReadSpan, StatusIndex, StatusSpan},
        store::Store,
    },
};

/// The spans that are in use.
pub(super) struct Spans {
    /// By client and its `tokens_since`: a client whose tokens were revoked has another number.
    walks: Cache<(ClientId, i64), Arc<Walk>>,
    /// Those that were read until this time, by the steady clock, are not used: they may be of a database that another one has replaced.
    forgotten_until: ArcSwapOption<Timestamp>,
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spans")
    }
}

/// A span, as it was read, and how far this node has walked it.
pub(super) struct Walk {
    span: StatusSpan,
    order: Arc<Order>,
    /// The epoch of revocations when the span was read, or a later one in which it was usable.
    read_in: i64,
    /// The time just before it was read, by the steady clock.
    read_at: Timestamp,
}

/// An order of a span's positions: from a random one, by a random odd stride. It visits all before it returns to the first, and nodes have different
/// orders, so that a position is used again as late as possible.
struct Order {
    offset: u32,
    stride: u32,
    steps: AtomicU32,
}

impl Spans {
    /// For at most `cached` clients.
    pub(super) fn new(cached: u64) -> Self {
        Self { walks: Cache::builder().max_capacity(cached).build(), forgotten_until: ArcSwapOption::empty() }
    }

    /// Forgets all: another database may have taken the place of the one from which they were read. `steady` is the time by the steady clock.
    pub(super) fn forget(&self, steady: Timestamp) {
        self.forgotten_until.store(Some(Arc::new(steady)));
    }

    /// The span of a client: from the cache, as it was read with the client, from the database, or made. If the client was disabled or deleted, or a
    /// right was withdrawn from it, since it was read, no token gets a position that is not revoked: the span has ended as revoked, or if the database
    /// is asked, [`Error::Gone`]. That is not cached.
    pub(super) async fn find(
        &self,
        store: &Store,
        client: &Client,
        view: &View,
        width: u32,
        now: Timestamp,
        steady: Timestamp,
    ) -> Result<Arc<Walk>, Error> {
        let (id, tokens_since) = (&client.id, client.tokens_since);
        let key = (id.clone(), tokens_since);
        let known = self.walks.get(&key).await;
        if let Some(walk) = &known {
            if self.is_usable(walk, view, steady) {
                return Ok(Arc::clone(walk));
            }
            self.walks.invalidate(&key).await;
        }
        let begin = |ReadSpan { span, read_at }, read_in| Walk::new(span, known.as_deref(), read_in, read_at);
        let find = async {
            // The epoch in which the client was read is not known, so its span counts as read before all of them. If it is usable in this one, it is
            // checked again in the next.
            let with_client = client.span.clone().map(|read| begin(read, i64::MIN)).filter(|walk| self.is_usable(walk, view, steady));
            if let Some(walk) = with_client {
                return Ok(Arc::new(Walk { read_in: view.epoch, ..walk }));
            }
            let span = match store.find_status_span(id, tokens_since).await? {
                Some(span) => Some(span),
                None => store.create_status_span(id, tokens_since, width, now).await?,
            };
            span.map(|span| Arc::new(begin(ReadSpan { span, read_at: steady }, view.epoch))).ok_or(Error::Gone)
        };
        // Concurrent callers share the outcome.
        self.walks.try_get_with(key, find).await.map_err(|error| match &*error {
            Error::Store(error) => Error::Store(error.clone()),
            Error::Gone => Error::Gone,
        })
    }

    fn is_usable(&self, walk: &Walk, view: &View, steady: Timestamp) -> bool {
        let is_forgotten = self.forgotten_until.load().as_deref().is_some_and(|until| walk.read_at <= *until);
        !is_forgotten && !walk.is_outdated(view, steady)
    }
}

impl Walk {
    /// Goes on where the `earlier` walk is, if that is of the same span.
    fn new(span: StatusSpan, earlier: Option<&Self>, read_in: i64, read_at: Timestamp) -> Self {
        let order = match earlier {
            Some(earlier) if earlier.span == span => Arc::clone(&earlier.order),
            _ => Arc::new(Order::random()),
        };
        Self { span, order, read_in, read_at }
    }

    /// Whether the client's span must be read again: it may have been replaced by a wider one, or its list may be gone. This node may not
    /// notice a replacement, because another node counts by another time, so it reads the span again after some time in any case.
    /// `Revocation::end_of_all` allows for that time.
    fn is_outdated(&self, view: &View, steady: Timestamp) -> bool {
        let may_be_replaced = || view.is_half_taken(&self.span) || view.snapshot(&self.span.list).is_none();
        steady.since(self.read_at) >= StatusSpan::READ_EVERY || (view.epoch > self.read_in && may_be_replaced())
    }

    /// The position of the next token: one that is not taken. If all are, any: this node has not noticed yet that the span was replaced, or the
    /// client's tokens revoked, and a token that is refused is the safe side.
    pub(super) fn next(&self, view: &View) -> StatusIndex {
        let is_taken = view.taken(&self.span.list);
        let mut index = self.step();
        // A client that revokes each token after use takes many positions in a row. They are passed once in a round.
        for _ in 1..self.span.width {
            if !is_taken(index) {
                break;
            }
            index = self.step();
        }
        StatusIndex { list: self.span.list.clone(), index }
    }

    fn step(&self) -> u32 {
        let Order { offset, stride, steps } = &*self.order;
        let step = steps.fetch_add(1, Relaxed);
        // The width is a power of two, so that overflow does no harm.
        let within = offset.wrapping_add(step.wrapping_mul(*stride)) % self.span.width.max(1);
        self.span.start + within
    }
}

impl Order {
    fn random() -> Self {
        let (offset, stride) = (u32::from_ne_bytes(entropy::bytes()), u32::from_ne_bytes(entropy::bytes()) | 1);
        Self { offset, stride, steps: AtomicU32::new(0) }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet, HashSet},
        time::Duration,
    };

    use super::*;
    use crate::server::{
        act::Act,
        model::{CustomClaims, StatusListId},
        revocation::{resting::Positions, tests::new_database},
    };

    const NOON: Timestamp = Timestamp::from_seconds(1_795_500_000);

    fn span(start: u32, width: u32) -> StatusSpan {
        StatusSpan { list: list(), start, width }
    }

    fn list() -> StatusListId {
        "di5G35ZktxQQIXjO7RRStA".parse().unwrap()
    }

    fn walk(span: StatusSpan) -> Walk {
        Walk::new(span, None, 0, NOON)
    }

    fn view(set: impl IntoIterator<Item = u32>, resting: impl IntoIterator<Item = u32>) -> View {
        let sets: Arc<Positions> = Arc::new([(list(), Arc::new(set.into_iter().collect()))].into());
        let resting: Arc<Positions> = Arc::new([(list(), Arc::new(resting.into_iter().collect()))].into());
        View { epoch: 1, read_at: NOON, confirmed_at: NOON, sets, resting }
    }

    #[test]
    fn a_walk_visits_every_position_before_it_visits_one_again() {
        for width in [1, 16, 256, 65_536] {
            let (span, view) = (span(3 * width, width), view([], []));
            let walk = walk(span.clone());
            for _ in 0..3 {
                let visited: BTreeSet<u32> = (0..width).map(|_| walk.next(&view).index).collect();
                assert_eq!(visited, span.positions().collect(), "{width}");
            }
        }
    }

    #[test]
    fn no_token_gets_a_position_that_is_set_or_was_until_recently() {
        let (walk, view) = (walk(span(16, 16)), view(16..21, 19..26));
        for _ in 0..3 {
            let given: BTreeSet<u32> = (0..6).map(|_| walk.next(&view).index).collect();
            assert_eq!(given, (26..32).collect());
        }
    }

    #[test]
    fn any_number_of_positions_in_a_row_that_are_taken_is_passed() {
        let (walk, empty) = (walk(span(0, 65_536)), view([], []));
        let revoked: HashSet<u32> = (0..32_000).map(|_| walk.next(&empty).index).collect();
        let view = view(revoked.iter().copied(), []);
        for _ in 0..2 * (65_536 - 32_000) {
            let index = walk.next(&view).index;
            assert!(!revoked.contains(&index), "{index}");
        }
    }

    #[test]
    fn if_all_positions_are_taken_a_token_gets_one_that_is_refused() {
        let (walk, view) = (walk(span(16, 16)), view(16..32, []));
        assert!((16..32).contains(&walk.next(&view).index));
    }

    #[test]
    fn a_walk_goes_on_when_its_span_is_read_again_and_begins_when_it_was_replaced() {
        let (first, view) = (walk(span(256, 256)), view([], []));
        let mut visited: BTreeSet<u32> = (0..100).map(|_| first.next(&view).index).collect();
        let again = Walk::new(span(256, 256), Some(&first), 1, NOON + StatusSpan::READ_EVERY);
        // A request that still has the first walk takes no position twice.
        visited.extend((0..78).flat_map(|_| [again.next(&view).index, first.next(&view).index]));
        assert_eq!(visited, (256..512).collect());
        let replaced = Walk::new(span(1024, 1024), Some(&again), 2, NOON);
        assert!((1024..2048).contains(&replaced.next(&view).index));
    }

    /// A client that was read at noon, with this span, and is not in the database.
    fn client(span: StatusSpan) -> Client {
        Client {
            id: "billing".parse().unwrap(),
            auth_methods: BTreeSet::new(),
            grants: BTreeSet::new(),
            permissions: BTreeMap::new(),
            introspects: BTreeSet::new(),
            token_lifetime: None,
            fixed_claims: CustomClaims::default(),
            created_at: NOON,
            disabled_at: None,
            tokens_since: 0,
            secrets: Vec::new(),
            keys: Vec::new(),
            span: Some(ReadSpan { span, read_at: NOON }),
        }
    }

    #[tokio::test]
    async fn a_span_that_was_read_with_its_client_is_used_unless_it_would_have_to_be_read_again() {
        // A look there for the client's span finds that the client is gone.
        let (_folder, store) = new_database().await;
        let client = client(span(16, 16));
        let find = async |view: View, forgotten: Option<Timestamp>, later: Duration| {
            let spans = Spans::new(10);
            forgotten.into_iter().for_each(|at| spans.forget(at));
            spans.find(&store, &client, &view, 16, NOON, NOON + later).await.map(|walk| walk.next(&view).index)
        };
        let millisecond = Duration::from_millis(1);
        let almost = StatusSpan::READ_EVERY - millisecond;
        for forgotten in [None, Some(NOON - millisecond)] {
            let index = find(view(16..19, 19..23), forgotten, almost).await.unwrap();
            assert!((23..32).contains(&index), "{index}");
        }
        let unknown_list = View { sets: Arc::default(), ..view([], []) };
        for (why, view, forgotten, later) in [
            ("five minutes later", view([], []), None, StatusSpan::READ_EVERY),
            ("half of it is taken", view(16..19, 19..24), None, Duration::ZERO),
            ("its list is gone, or not known yet", unknown_list, None, Duration::ZERO),
            ("another database may have taken the place of the one it was read from", view([], []), Some(NOON), Duration::ZERO),
        ] {
            assert!(matches!(find(view, forgotten, later).await, Err(Error::Gone)), "{why}");
        }
    }

    #[tokio::test]
    async fn no_span_that_is_in_use_is_used_after_another_database_may_have_taken_the_place() {
        let (_folder, store) = new_database().await;
        let (client, view, spans) = (client(span(16, 16)), view([], []), Spans::new(10));
        assert!(spans.find(&store, &client, &view, 16, NOON, NOON).await.is_ok());
        spans.forget(NOON);
        assert!(matches!(spans.find(&store, &client, &view, 16, NOON, NOON).await, Err(Error::Gone)));
    }

    #[tokio::test]
    async fn a_walk_goes_on_after_an_outage_of_the_database() {
        let (_folder, store) = new_database().await;
        let unread = Client { span: None, ..client(span(16, 16)) };
        store.insert_client(&Act::new("test", None, NOON), unread).await.unwrap();
        let (client, _) = store.find_client_and_span(&"billing".parse().unwrap()).await.unwrap().unwrap();
        let span = store.create_status_span(&client.id, client.tokens_since, 256, NOON).await.unwrap().unwrap();
        let (view, spans, mut visited) = (View { sets: Arc::default(), ..view([], []) }, Spans::new(10), BTreeSet::new());
        for _ in 0..256 {
            let walk = spans.find(&store, &client, &view, 256, NOON, NOON).await.unwrap();
            visited.insert(walk.next(&view).index);
            spans.forget(NOON);
        }
        assert_eq!(visited, span.positions().collect());
    }

    #[test]
    fn a_span_is_read_again_after_five_minutes_or_when_half_of_it_is_taken_after_it_was_read() {
        let walk = walk(span(16, 16));
        assert!(!walk.is_outdated(&view(16..19, 19..23), NOON), "seven of sixteen");
        assert!(walk.is_outdated(&view(16..19, 19..24), NOON));
        let read_later = Walk::new(span(16, 16), None, 1, NOON);
        assert!(!read_later.is_outdated(&view(16..19, 19..24), NOON), "it was read after that");
        assert!(!walk.is_outdated(&view([], []), NOON + StatusSpan::READ_EVERY - Duration::from_millis(1)));
        assert!(walk.is_outdated(&view([], []), NOON + StatusSpan::READ_EVERY));
    }
}
