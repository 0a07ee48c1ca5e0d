//! A bounded queue that serves clients in turn, and the sources of a client in turn. When it is full, the newest item of the
//! longest share is removed to make room.

use std::collections::{HashMap, VecDeque};

/// The client and the source that an item is queued for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Share {
    pub(crate) client: String,
    pub(crate) source: String,
}

#[derive(Debug)]
pub(super) struct FairQueue<T> {
    most: usize,
    waiting: Turns<Turns<VecDeque<T>>>,
}

/// The outcome of a push.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pushed<T> {
    Waits,
    /// The item is queued, and this one was removed.
    Instead(T),
    /// The queue is full, and no share is longer. This is the item that was pushed.
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

    pub(super) fn push(&mut self, share: &Share, item: T) -> Pushed<T> {
        let removed = if self.len() < self.most {
            None
        } else {
            match self.make_room(share) {
                Some(removed) => Some(removed),
                None => return Pushed::Refused(item),
            }
        };
        self.waiting.of(&share.client).of(&share.source).push_back(item);
        self.waiting.len += 1;
        self.waiting.of(&share.client).len += 1;
        removed.map_or(Pushed::Waits, Pushed::Instead)
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        self.waiting.take_next()
    }

    /// Removes the newest item of the longest share, if that is longer than `share` would become.
    fn make_room(&mut self, share: &Share) -> Option<T> {
        let client = self.waiting.longer_than(&share.client);
        let Some(client) = client else {
            // No other client has more: compare the sources of this client.
            let own = self.waiting.queues.get(&share.client)?;
            let source = own.longer_than(&share.source)?;
            return self.waiting.take_newest(&share.client, |own| own.take_newest(&source, VecDeque::pop_back));
        };
        self.waiting.take_newest(&client, |crowd| {
            let source = crowd.longest()?;
            crowd.take_newest(&source, VecDeque::pop_back)
        })
    }
}

/// Queues by name, served round robin.
#[derive(Debug)]
struct Turns<Q> {
    queues: HashMap<String, Q>,
    /// The names of all queues that are not empty, in the order of their turns.
    order: VecDeque<String>,
    /// Items in all queues.
    len: usize,
}

impl<Q> Default for Turns<Q> {
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

impl<Q: Queue> Queue for Turns<Q> {
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

impl<Q: Queue> Turns<Q> {
    /// The queue of this name, to push to.
    fn of(&mut self, name: &str) -> &mut Q {
        if !self.queues.contains_key(name) {
            self.order.push_back(name.to_owned());
        }
        self.queues.entry(name.to_owned()).or_default()
    }

    fn longest(&self) -> Option<String> {
        self.queues.iter().max_by_key(|(_, queue)| queue.len()).map(|(name, _)| name.clone())
    }

    /// The longest queue, if it is longer than the queue of `name` would be with one more item.
    fn longer_than(&self, name: &str) -> Option<String> {
        let own = self.queues.get(name).map_or(0, Queue::len);
        self.longest().filter(|longest| self.queues[longest].len() > own + 1)
    }

    fn take_newest(&mut self, name: &str, take: impl FnOnce(&mut Q) -> Option<Q::Item>) -> Option<Q::Item> {
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

    fn share(client: &str, source: &str) -> Share {
        Share { client: client.to_owned(), source: source.to_owned() }
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
        assert!(queue.waiting.queues.is_empty() && queue.waiting.order.is_empty() && queue.len() == 0, "nothing is left of them");
    }

    #[test]
    fn hd6_in_a_full_queue_the_longest_share_makes_room_for_a_shorter_one() {
        let mut queue = FairQueue::new(4);
        for item in 1..=4 {
            assert_eq!(queue.push(&share("flood", "1"), item), Pushed::Waits);
        }
        assert_eq!(queue.push(&share("flood", "1"), 5), Pushed::Refused(5));
        assert_eq!(queue.push(&share("other", "7"), 6), Pushed::Instead(4));
        assert_eq!(queue.push(&share("flood", "2"), 7), Pushed::Instead(3), "another source of the same client");
        assert_eq!(queue.push(&share("other", "7"), 8), Pushed::Instead(2), "the newest of whoever has the most");
        assert_eq!(queue.push(&share("other", "8"), 9), Pushed::Instead(8), "each client has half, and a source gives to another");
        assert!(matches!(queue.push(&share("third", "1"), 10), Pushed::Instead(_)));
        assert_eq!(queue.push(&share("third", "1"), 11), Pushed::Refused(11), "nobody has more than one beyond it");
        assert_eq!(queue.len(), 4);
    }

    proptest! {
        #[test]
        fn hd6_nothing_is_lost_or_doubled_and_no_share_starves(pushes in prop::collection::vec((0..4u8, 0..3u8, any::<bool>()), 1..200)) {
            let mut queue = FairQueue::new(8);
            let (mut inside, mut gone) = (Vec::new(), Vec::new());
            for (item, (client, source, pop)) in pushes.iter().enumerate() {
                let share = share(&client.to_string(), &source.to_string());
                match queue.push(&share, item) {
                    Pushed::Waits => inside.push((item, *client)),
                    Pushed::Instead(other) => {
                        let at = inside.iter().position(|(known, _)| *known == other).unwrap();
                        prop_assert!(inside.len() == 8);
                        inside.remove(at);
                        gone.push(other);
                        inside.push((item, *client));
                    }
                    Pushed::Refused(same) => {
                        prop_assert_eq!(same, item);
                        let own = inside.iter().filter(|(_, other)| other == client).count();
                        let most = (0..4).map(|other| inside.iter().filter(|(_, client)| *client == other).count()).max().unwrap();
                        prop_assert!(inside.len() == 8 && most <= own + 1, "refused although others have more");
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
