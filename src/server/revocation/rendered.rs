//! A status list as a signed document: draft-ietf-oauth-status-list section 5.1.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use roaring::RoaringBitmap;

use super::{Snapshot, TTL};
use crate::{
    clock::Timestamp,
    protocol::{StatusListClaims, Statuses},
    server::{
        document::Document,
        keys::{PublicationKey, SignError},
        model::StatusListId,
    },
};

/// The time until a list expires. It is signed again long before.
const LIFETIME_S: i64 = 3600;

/// A signed list, and what it was made of.
#[derive(Debug)]
pub(super) struct Rendered {
    pub(super) document: Document,
    pub(super) kid: String,
    /// When the view that it shows was last confirmed, by the wall clock.
    pub(super) confirmed_at: Timestamp,
    /// By the steady clock.
    pub(super) signed_at: Timestamp,
    set: Arc<RoaringBitmap>,
    /// When it was first found to differ from what this node knows, by the steady clock.
    outdated_since: Mutex<Option<Timestamp>>,
}

impl Rendered {
    /// Renders, compresses and signs a list. Takes milliseconds: do not call it on the runtime's threads.
    pub(super) fn sign(uri: String, snapshot: Snapshot, key: PublicationKey, signed_at: Timestamp) -> Result<Self, SignError> {
        let Snapshot { set, epoch, confirmed_at } = snapshot;
        let bytes = bits(&set);
        let kid = key.kid().to_owned();
        // Neither the times nor the signature: nodes with the same content give the same ETag. No URI contains a zero.
        let content = [uri.as_bytes(), &[0], kid.as_bytes(), &[0], &bytes].map(<[u8]>::to_vec).concat();
        let status_list = Statuses::of_bits(bytes).encode().map_err(|error| SignError::Failed(error.to_string()))?;
        // A node that is blind does not claim to be fresh.
        let iat = confirmed_at.seconds();
        let claims = StatusListClaims {
            sub: uri,
            iat,
            exp: Some(iat.saturating_add(LIFETIME_S)),
            ttl: Some(TTL.as_secs()),
            status_list,
            epoch: Some(epoch),
        };
        let document = Document::of_content(&content, key.sign(StatusListClaims::TYPE, &claims)?);
        Ok(Self { document, kid, confirmed_at, signed_at, set, outdated_since: Mutex::default() })
    }

    /// Whether this signature is at least this old, and another one would state a later time: a list is as fresh as the view that it shows, so that a
    /// node that is blind would only say the same again. `now` is by the steady clock.
    pub(super) fn is_renewed_after(&self, age: Duration, snapshot: &Snapshot, now: Timestamp) -> bool {
        now.since(self.signed_at) >= age && self.confirmed_at != snapshot.confirmed_at
    }

    /// Since when it has not shown exactly the positions that are set, as far as it was compared. `None` if it does. `now` is by the steady clock.
    pub(super) fn outdated_since(&self, set: &Arc<RoaringBitmap>, now: Timestamp) -> Option<Timestamp> {
        let shows = Arc::ptr_eq(&self.set, set) || self.set == *set;
        let mut since = self.outdated_since.lock().unwrap_or_else(PoisonError::into_inner);
        *since = if shows { None } else { since.or(Some(now)) };
        *since
    }
}

/// One bit per position, the first in the lowest bit of the first byte (section 4.1).
fn bits(set: &RoaringBitmap) -> Vec<u8> {
    let mut bytes = vec![0_u8; StatusListId::POSITIONS as usize / 8];
    for position in set {
        if let Some(byte) = bytes.get_mut(position as usize / 8) {
            *byte |= 1 << (position % 8);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_seconds(1_795_500_000);

    fn rendered(set: &Arc<RoaringBitmap>) -> Rendered {
        let (document, kid, set) = (Document::new("signed"), String::new(), Arc::clone(set));
        Rendered { document, kid, confirmed_at: NOON, signed_at: NOON, set, outdated_since: Mutex::default() }
    }

    #[test]
    fn a_list_is_outdated_since_it_last_began_to_differ() {
        let [one, two] = [[7], [8]].map(|positions| Arc::new(positions.into_iter().collect::<RoaringBitmap>()));
        let (list, after) = (rendered(&one), |seconds| NOON + Duration::from_secs(seconds));
        assert_eq!(list.outdated_since(&one, NOON), None);
        assert_eq!(list.outdated_since(&two, after(1)), Some(after(1)));
        assert_eq!(list.outdated_since(&two, after(2)), Some(after(1)));
        assert_eq!(list.outdated_since(&one, after(2)), None, "it matches again before it is signed");
        assert_eq!(list.outdated_since(&two, after(200)), Some(after(200)));
    }

    #[test]
    fn sl1_the_first_position_is_the_lowest_bit_of_the_first_byte() {
        let set: RoaringBitmap = [0, 3, 4, 5, 7, 8, 9, 13, 15].into_iter().collect();
        let bytes = bits(&set);
        // The example of the draft's section 4.1.
        assert_eq!((bytes.len(), &bytes[..3]), (131_072, &[0xb9, 0xa3, 0][..]));
        let last: RoaringBitmap = [StatusListId::POSITIONS - 1, StatusListId::POSITIONS].into_iter().collect();
        assert_eq!(bits(&last).last(), Some(&0x80), "and a position beyond the list is not published");
    }
}
