use std::collections::BTreeSet;

use serde::Serialize;

use crate::server::keys::{Resealed, Retired};

/// What `key reseal` did, and what is left for the operator to do.
#[derive(Debug, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum ResealView {
    /// The new set of keys has to be given to every server first.
    Distribute {
        sealing_key: String,
        output: String,
        place: String,
    },
    Done(ResealedView),
}

#[derive(Debug, Serialize)]
pub(crate) struct ResealedView {
    pub(crate) sealing_key: String,
    /// The number of keys in the database that were sealed again.
    pub(crate) resealed: usize,
    pub(crate) retired_sealing_keys: Vec<String>,
    /// The file in which they are kept.
    pub(crate) retired_file: Option<String>,
    pub(crate) mac_keys_replaced: Vec<String>,
    pub(crate) logins_ended: u64,
    pub(crate) signing_keys_withdrawn: Vec<String>,
    /// Rows that do not open under any sealing key. They were not changed.
    pub(crate) unopened: BTreeSet<String>,
}

impl ResealView {
    pub(crate) fn done(done: Resealed, retired: Retired) -> Self {
        Self::Done(ResealedView {
            sealing_key: done.kid,
            resealed: done.rewritten,
            retired_sealing_keys: retired.kids,
            retired_file: retired.file,
            mac_keys_replaced: done.replaced,
            logins_ended: done.logins_ended,
            signing_keys_withdrawn: done.withdrawn,
            unopened: done.unopened,
        })
    }
}
