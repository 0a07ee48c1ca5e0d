//! A bounded queue that serves clients in turn, within a client known and unknown sources in turn, and within these the sources in
//! turn. When it is full, the newest item of the longest share is removed to make room; of two equal shares of a client, a known
//! source keeps its place and an unknown one loses it.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// The client and the source that an item is queued for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct QueueShare {
    pub(crate) client: String,
    pub(crate) source: String,
    /// The user, if this user has signed in from this source before. Each known user of a source has a share of its own, which an attacker
    /// at the same source, with or without an account, does not use up.
    pub(crate) known_user: Option<String>,
}

impl QueueShare {
    const fn is_known(&self) -> bool {
        self.known_user.is_some()
    }

    fn source(&self) -> SourceName {
        SourceName { network: self.source.clone(), known_user: self.known_user.clone() }
    }
}

/// The name of a share within its client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SourceName {
    network: String,
    known_user: Option<String>,
}

impl SourceName {
    const fn is_known(&self) -> bool {
        self.known_user.is_some()
    }
}

/// The items of one client: those of known sources and those of unknown ones. The two take turns, so that neither delays the other by
/// more than one item.
type OfClient<T> = Turns<bool, Turns<SourceName, VecDeque<T>>>;

#[derive(Debug)]
pub(super) struct FairQueue<T> {
    most: usize,
    waiting: Turns<String, OfClient<T>>,
}

/// The outcome of a push.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pushed<T> {
    Waits,
    /// The item is queued; this one was removed.
    Instead(T),
    /// The queue is full, and no other share is longer. Returns the item that was pushed.
    Refused(T),
}

impl<T> FairQueue<T> {
    /// A queue of at most `most` items.
    pub(super) fn new(most: usize) -> Self {
        Self { most, waiting: Turns::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn push(&mut self, share: &QueueShare, item: T) -> Pushed<T> {
        let removed = if self.len() < self.most {
            None
        } else {
            match self.make_room(share) {
                Some(removed) => Some(removed),
                None => return Pushed::Refused(item),
            }
        };
        self.waiting.push_to(share.client.clone(), |client| {
            client.push_to(share.is_known(), |sources| sources.push_to(share.source(), |items| items.push_back(item)));
        });
        removed.map_or(Pushed::Waits, Pushed::Instead)
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        self.waiting.take_next()
    }

    /// Removes the newest item of the longest share, if that share has to give way to `share`.
    fn make_room(&mut self, share: &QueueShare) -> Option<T> {
        let own = self.waiting.len_of(&share.client);
        let (client, longest) = self.waiting.longest()?;
        // If no other client has more, compare the sources of this client.
        let client = if longest > own + 1 { client.clone() } else { share.client.clone() };
        let crowd = self.waiting.queues.get(&client)?;
        let shares = crowd.queues.values().flat_map(|sources| &sources.queues);
        let (source, longest) =
            shares.map(|(source, items)| (source, items.len())).max_by_key(|(source, len)| (*len, !source.is_known()))?;
        if client == share.client {
            let own = crowd.queues.get(&share.is_known()).map_or(0, |sources| sources.len_of(&share.source()));
            // A known source wins the tie, which gives it one place and not more: an attacker with an account must not keep out everyone
            // who is new.
            let wins_tie = share.is_known() && !source.is_known() && longest > own;
            if longest <= own + 1 && !wins_tie {
                return None;
            }
        }
        let source = source.clone();
        self.waiting.take_newest(&client, |client| {
            client.take_newest(&source.is_known(), |sources| sources.take_newest(&source, VecDeque::pop_back))
        })
    }
}

/// Queues by name, served round robin.
#[derive(Debug)]
struct Turns<N, Q> {
    queues: HashMap<N, Q>,
    /// The names of all queues that are not empty, in the order of their turns.
    order: VecDeque<N>,
    /// Items in all queues.
    len: usize,
}

impl<N, Q> Default for Turns<N, Q> {
    fn default() -> Self {
        Self { queues: HashMap::new(), order: VecDeque::new(), len: 0 }
    }
}

trait Queue: Default {
    type Item;

    fn len(&self) -> usize;
    fn take_next(&mut self) -> Option<Self::Item>;
}

impl<T> Queue for VecDeque<T> {
    type Item = T;

    fn len(&self) -> usize {
        Self::len(self)
    }

    fn take_next(&mut self) -> Option<T> {
        self.pop_front()
    }
}

impl<N: Clone + Eq + Hash, Q: Queue> Queue for Turns<N, Q> {
    type Item = Q::Item;

    fn len(&self) -> usize {
        self.len
    }

    fn take_next(&mut self) -> Option<Q::Item> {
        let name = self.order.pop_front()?;
        let queue = self.queues.get_mut(&name)?;
        let taken = queue.take_next()?;
        self.len -= 1;
        if queue.len() == 0 {
            self.queues.remove(&name);
        } else {
            self.order.push_back(name);
        }
        Some(taken)
    }
}

impl<N: Clone + Eq + Hash, Q: Queue> Turns<N, Q> {
    /// Pushes one item to the queue of this name.
    fn push_to(&mut self, name: N, push: impl FnOnce(&mut Q)) {
        if !self.queues.contains_key(&name) {
            self.order.push_back(name.clone());
        }
        push(self.queues.entry(name).or_default());
        self.len += 1;
    }

    fn len_of(&self, name: &N) -> usize {
        self.queues.get(name).map_or(0, Queue::len)
    }

    fn longest(&self) -> Option<(&N, usize)> {
        self.queues.iter().map(|(name, queue)| (name, queue.len())).max_by_key(|(_, len)| *len)
    }

    fn take_newest(&mut self, name: &N, take: impl FnOnce(&mut Q) -> Option<Q::Item>) -> Option<Q::Item> {
        let queue = self.queues.get_mut(name)?;
        let taken = take(queue)?;
        self.len -= 1;
        if queue.len() == 0 {
            self.queues.remove(name);
            self.order.retain(|other| other != name);
        }
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn share(client: &str, source: &str) -> QueueShare {
        QueueShare { client: client.to_owned(), source: source.to_owned(), known_user: None }
    }

    fn known(client: &str, source: &str, user: &str) -> QueueShare {
        QueueShare { known_user: Some(user.to_owned()), ..share(client, source) }
    }

    fn drain<T>(queue: &mut FairQueue<T>) -> Vec<T> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn hd6_clients_take_turns_and_within_a_client_sources_do() {
        let mut queue = FairQueue::new(100);
        for (client, source, item) in [
            ("a", "1", "a1"),
            ("a", "1", "a1'"),
            ("a", "1", "a1''"),
            ("a", "2", "a2"),
            ("b", "1", "b1"),
            ("b", "1", "b1'"),
            ("c", "9", "c9"),
        ] {
            assert_eq!(queue.push(&share(client, source), item), Pushed::Waits);
        }
        assert_eq!(drain(&mut queue), ["a1", "b1", "c9", "a2", "b1'", "a1'", "a1''"]);
        assert!(queue.waiting.queues.is_empty() && queue.waiting.order.is_empty() && queue.len() == 0, "nothing is left");
    }

    #[test]
    fn hd6_in_a_full_queue_the_longest_share_loses_an_item_to_a_shorter_one() {
        let mut queue = FairQueue::new(4);
        for item in 1..=4 {
            assert_eq!(queue.push(&share("flood", "1"), item), Pushed::Waits);
        }
        assert_eq!(queue.push(&share("flood", "1"), 5), Pushed::Refused(5));
        assert_eq!(queue.push(&share("other", "7"), 6), Pushed::Instead(4));
        assert_eq!(queue.push(&share("flood", "2"), 7), Pushed::Instead(3), "another source of the same client");
        assert_eq!(queue.push(&share("other", "7"), 8), Pushed::Instead(2), "the newest item of the longest share");
        assert_eq!(queue.push(&share("other", "8"), 9), Pushed::Instead(8), "each client has half, and a source gives to another");
        assert!(matches!(queue.push(&share("third", "1"), 10), Pushed::Instead(_)));
        assert_eq!(queue.push(&share("third", "1"), 11), Pushed::Refused(11), "no share is longer by more than one");
        assert_eq!(queue.len(), 4);
    }

    #[test]
    fn hd5_hd6_a_known_source_displaces_only_unknown_sources_of_its_client() {
        let mut queue = FairQueue::new(64);
        for stranger in 0..62 {
            queue.push(&share("shop", &stranger.to_string()), "stranger");
        }
        queue.push(&share("other", "1"), "other");
        queue.push(&share("third", "1"), "third");
        assert_eq!(queue.push(&share("shop", "62"), "one more"), Pushed::Refused("one more"));
        assert_eq!(queue.push(&known("shop", "home", "alice"), "alice"), Pushed::Instead("stranger"));
        assert_eq!(
            queue.push(&known("shop", "home", "bob"), "bob"),
            Pushed::Instead("stranger"),
            "each known user of a source has a share"
        );
        assert_eq!(queue.push(&known("shop", "work", "alice"), "alice"), Pushed::Instead("stranger"));
        assert_eq!(
            queue.push(&known("shop", "home", "alice"), "again"),
            Pushed::Refused("again"),
            "one place each, while strangers have one each"
        );
        assert_eq!(queue.push(&share("shop", "home"), "stranger"), Pushed::Refused("stranger"), "a stranger at a known source is unknown");
        assert_eq!(queue.push(&share("other", "2"), "other"), Pushed::Instead("stranger"), "another client takes from strangers first");
        let left = drain(&mut queue);
        let count = |name| left.iter().filter(|item| **item == name).count();
        assert_eq!((count("alice"), count("bob"), count("other"), count("third"), count("stranger")), (2, 1, 2, 1, 58));
    }

    #[test]
    fn hd6_a_known_source_does_not_displace_another_client() {
        let mut queue = FairQueue::new(4);
        for item in 1..=4 {
            queue.push(&share(&item.to_string(), "1"), item);
        }
        assert_eq!(queue.push(&known("5", "home", "alice"), 5), Pushed::Refused(5));
        assert_eq!(queue.push(&known("1", "home", "alice"), 6), Pushed::Instead(1), "only one of its own client");
        assert_eq!(queue.push(&known("1", "home", "bob"), 7), Pushed::Refused(7), "one known source does not displace another");
    }

    #[test]
    fn hd5_hd6_known_and_unknown_sources_of_a_client_take_turns() {
        let mut queue = FairQueue::new(100);
        for stranger in ["s1", "s2", "s3"] {
            queue.push(&share("a", stranger), stranger);
        }
        for (user, item) in [("alice", "a1"), ("alice", "a2"), ("bob", "b1"), ("alice", "a3")] {
            queue.push(&known("a", "home", user), item);
        }
        assert_eq!(drain(&mut queue), ["s1", "a1", "s2", "b1", "s3", "a2", "a3"]);
    }

    #[test]
    fn hd6_an_attacker_with_an_account_does_not_keep_new_sources_out() {
        let mut queue = FairQueue::new(4);
        for item in 1..=4 {
            queue.push(&known("a", "home", "mallory"), item);
        }
        assert_eq!(queue.push(&share("a", "new"), 5), Pushed::Instead(4));
        assert_eq!(queue.push(&known("a", "home", "mallory"), 6), Pushed::Refused(6));
        assert_eq!(queue.push(&share("a", "newer"), 7), Pushed::Instead(3));
        assert_eq!(queue.push(&share("a", "newest"), 8), Pushed::Instead(2));
        assert_eq!(queue.push(&share("a", "last"), 9), Pushed::Refused(9), "mallory keeps one place as well");
    }

    proptest! {
        #[test]
        fn hd6_nothing_is_lost_or_doubled_and_no_share_starves(
            pushes in prop::collection::vec((0..4u8, 0..3u8, any::<bool>(), any::<bool>()), 1..200)
        ) {
            let mut queue = FairQueue::new(8);
            let (mut inside, mut gone) = (Vec::new(), Vec::new());
            for (item, (client, source, is_known, pop)) in pushes.iter().enumerate() {
                let (name, source) = (client.to_string(), source.to_string());
                let share = if *is_known { known(&name, &source, "alice") } else { share(&name, &source) };
                match queue.push(&share, item) {
                    Pushed::Waits => inside.push((item, *client)),
                    Pushed::Instead(other) => {
                        let at = inside.iter().position(|(known, _)| *known == other).unwrap();
                        prop_assert!(inside.len() == 8);
                        inside.remove(at);
                        let same_client = pushes[other].0 == *client;
                        let keeps = inside.iter().any(|(item, _)| pushes[*item].0 == pushes[other].0 && pushes[*item].1 == pushes[other].1 && pushes[*item].2);
                        prop_assert!(!same_client || !pushes[other].2 || keeps, "a known source lost its last place to its own client");
                        gone.push(other);
                        inside.push((item, *client));
                    }
                    Pushed::Refused(same) => {
                        prop_assert_eq!(same, item);
                        let own = inside.iter().filter(|(_, other)| other == client).count();
                        let most = (0..4).map(|other| inside.iter().filter(|(_, client)| *client == other).count()).max().unwrap();
                        prop_assert!(inside.len() == 8 && most <= own + 1, "refused although others have more");
                        let waits = |item: usize| (pushes[item].0, pushes[item].1, pushes[item].2);
                        let has_place = inside.iter().any(|(other, _)| waits(*other) == waits(item));
                        let strangers = inside.iter().any(|(other, other_client)| other_client == client && !pushes[*other].2);
                        prop_assert!(!is_known || has_place || !strangers, "a known source was refused although strangers wait");
                        gone.push(item);
                    }
                }
                if *pop {
                    let taken = queue.pop().unwrap();
                    let at = inside.iter().position(|(known, _)| *known == taken).unwrap();
                    inside.remove(at);
                    gone.push(taken);
                }
                prop_assert_eq!(queue.len(), inside.len());
            }
            let clients: std::collections::BTreeSet<u8> = inside.iter().map(|(_, client)| *client).collect();
            let rest = drain(&mut queue);
            let first: std::collections::BTreeSet<u8> =
                rest.iter().take(clients.len()).map(|item| inside.iter().find(|(known, _)| known == item).unwrap().1).collect();
            prop_assert_eq!(first, clients, "each client is served once before one is served twice");
            prop_assert_eq!(rest.len(), inside.len());
            prop_assert_eq!(gone.len() + rest.len(), pushes.len());
        }
    }
}
