//! The requests that may be under way at once, and the share of each source.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The slots of a forwarder. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Slots(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    /// The number of slots that each source has.
    sources: HashMap<IpAddr, usize>,
}

/// The slot of a request that is under way. It is free again when its last clone is dropped.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    _taken: Arc<Taken>,
}

#[derive(Debug)]
struct Taken {
    slots: Slots,
    source: Option<IpAddr>,
}

impl Slots {
    pub(super) fn new(count: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: count, sources: HashMap::new() })))
    }

    /// A slot for a request from `source`, if there is one. A source gets one while it has fewer than are free: alone, it can take half of
    /// them; beside others, an equal share. So no source takes the last ones, however slowly it reads.
    pub(super) fn take(&self, source: Option<IpAddr>) -> Option<Slot> {
        let mut state = self.state();
        let taken = source.map_or(0, |source| state.sources.get(&source).copied().unwrap_or(0));
        if taken >= state.free {
            return None;
        }
        state.free -= 1;
        if let Some(source) = source {
            state.sources.insert(source, taken + 1);
        }
        drop(state);
        Some(Slot { _taken: Arc::new(Taken { slots: self.clone(), source }) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut state = self.slots.state();
        state.free += 1;
        if let Some(source) = self.source
            && let Some(count) = state.sources.get_mut(&source)
        {
            *count -= 1;
            if *count == 0 {
                state.sources.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_all(slots: &Slots, source: Option<&str>) -> Vec<Slot> {
        let source = source.map(|source| source.parse().unwrap());
        std::iter::from_fn(|| slots.take(source)).collect()
    }

    #[test]
    fn gd2_a_source_leaves_slots_for_others() {
        let slots = Slots::new(12);
        let first = take_all(&slots, Some("192.0.2.1"));
        let second = take_all(&slots, Some("192.0.2.2"));
        let third = take_all(&slots, Some("2001:db8::1"));
        assert_eq!([first.len(), second.len(), third.len()], [6, 3, 2]);
        drop(first);
        assert_eq!(take_all(&slots, Some("192.0.2.2")).len(), 2, "its share grows with what is free");
        drop((second, third));
        let state = slots.state();
        assert!(state.free == 12 && state.sources.is_empty(), "a source without requests takes no memory: {state:?}");
    }

    #[test]
    fn gd2_requests_without_a_source_take_all_slots_and_a_slot_is_free_after_its_last_clone() {
        let slots = Slots::new(3);
        let mut taken = take_all(&slots, None);
        assert_eq!(taken.len(), 3);
        assert!(slots.take(Some("192.0.2.1".parse().unwrap())).is_none());
        let last = taken.pop().unwrap();
        let clone = last.clone();
        drop(last);
        assert!(slots.take(None).is_none());
        drop(clone);
        assert!(slots.take(Some("192.0.2.1".parse().unwrap())).is_some(), "the last one is for any source");
    }
}
