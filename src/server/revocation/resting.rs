//! Positions that were set until recently. No token gets one of them yet: a verifier may still have a list in which it is set.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use roaring::RoaringBitmap;

use super::TTL;
use crate::server::{keys::SKEW, model::StatusListId};

/// How much later than this node another one may drop a revocation. One whose clock is further behind must be corrected: until then, verifiers that get
/// its lists refuse tokens that were not revoked.
const OTHERS_DROP_WITHIN: Duration = SKEW.saturating_mul(2);
/// How long a list may be used once a newer one can be fetched: two `ttl` in a cache that repeats it, three in a verifier, and one for the newer list
/// to be signed. Only a verifier that cannot fetch lists uses one for longer, up to an hour. It may then refuse tokens that were not revoked.
const LISTS_USED_FOR: Duration = TTL.saturating_mul(6);
const MINUTE: Duration = Duration::from_secs(60);

/// Positions by their list.
pub(super) type Positions = HashMap<StatusListId, Arc<RoaringBitmap>>;

/// The positions that rest. Per list, they are at most as many bitmaps as there are minutes in the longest rest, and their union.
#[derive(Debug, Default)]
pub(super) struct Resting {
    /// By the end of their rest, by the monotonic clock, which no one sets: the same for all that were dropped in the same minute.
    until: BTreeMap<Duration, Positions>,
    /// All of them, shared with the view.
    all: Arc<Positions>,
}

impl Resting {
    /// How long a position rests.
    const AT_LEAST: Duration = OTHERS_DROP_WITHIN.saturating_add(LISTS_USED_FOR);
    pub(super) const AT_MOST: Duration = Self::AT_LEAST.saturating_add(MINUTE);

    /// All positions that rest.
    pub(super) fn all(&self) -> Arc<Positions> {
        Arc::clone(&self.all)
    }

    /// Begins the rest of the positions that were set `before` and are not set `after`. A list that is gone has none: no token gets a position there.
    pub(super) fn begin(&mut self, before: &Positions, after: &Positions, monotonic: Duration) {
        let end_of_minute = Duration::from_secs((monotonic.as_secs() / 60 + 1) * 60);
        let mut any = false;
        for (list, set) in after {
            let Some(earlier) = before.get(list).filter(|earlier| !Arc::ptr_eq(earlier, set)) else { continue };
            let dropped = &**earlier - &**set;
            if !dropped.is_empty() {
                let resting = self.until.entry(end_of_minute + Self::AT_LEAST).or_default().entry(list.clone()).or_default();
                *Arc::make_mut(resting) |= dropped;
                any = true;
            }
        }
        if any {
            self.unite();
        }
    }

    /// Ends the rest of the positions whose time has come.
    pub(super) fn end(&mut self, monotonic: Duration) {
        let before = self.until.len();
        self.until.retain(|until, _| *until > monotonic);
        if self.until.len() < before {
            self.unite();
        }
    }

    fn unite(&mut self) {
        let mut all = Positions::new();
        for (list, resting) in self.until.values().flatten() {
            *Arc::make_mut(all.entry(list.clone()).or_default()) |= &**resting;
        }
        self.all = Arc::new(all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "di5G35ZktxQQIXjO7RRStA";

    fn set<const N: usize>(positions: [u32; N]) -> Positions {
        [(LIST.parse().unwrap(), Arc::new(positions.into_iter().collect()))].into()
    }

    fn at(resting: &mut Resting, seconds: u32) -> Vec<u32> {
        resting.end(seconds * Duration::from_secs(1));
        resting.all().values().flat_map(|positions| positions.iter()).collect()
    }

    #[test]
    fn a_position_rests_for_three_minutes_and_at_most_four() {
        for second in [0, 1, 59] {
            let mut resting = Resting::default();
            resting.begin(&set([6, 7]), &set([6]), second * Duration::from_secs(1));
            assert_eq!(at(&mut resting, second + 180), [7], "{second}");
            assert_eq!(at(&mut resting, second + 240), [0; 0], "{second}");
        }
    }

    #[test]
    fn a_position_that_rests_again_does_so_from_the_beginning_and_the_others_do_not() {
        let mut resting = Resting::default();
        resting.begin(&set([6, 7, 8]), &set([8]), Duration::ZERO);
        resting.begin(&set([7, 8]), &set([8]), 2 * MINUTE);
        assert_eq!(at(&mut resting, 239), [6, 7]);
        assert_eq!(at(&mut resting, 240), [7]);
        assert_eq!(at(&mut resting, 359), [7]);
        assert_eq!(at(&mut resting, 360), [0; 0]);
    }

    #[test]
    fn what_rests_is_held_by_the_minute_however_often_positions_are_dropped() {
        let mut resting = Resting::default();
        for second in 0..3600 {
            let now = second * Duration::from_secs(1);
            resting.begin(&set([second]), &set([]), now);
            resting.end(now);
            assert!(resting.until.len() <= 4, "{second}: {}", resting.until.len());
        }
        assert_eq!(at(&mut resting, 3599).len(), 240);
        assert_eq!(at(&mut resting, 3900).len(), 0);
        assert!(resting.until.is_empty() && resting.all.is_empty());
    }

    #[test]
    fn a_list_that_is_gone_or_that_has_not_changed_has_no_position_that_rests() {
        let mut resting = Resting::default();
        let before = set([7]);
        resting.begin(&before, &Positions::new(), Duration::ZERO);
        resting.begin(&before, &before, Duration::ZERO);
        resting.begin(&before, &set([7, 8]), Duration::ZERO);
        assert_eq!(at(&mut resting, 0), [0; 0]);
    }
}
