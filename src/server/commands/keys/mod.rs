//! What an operator can do with signing keys.

mod change;
mod export;
mod import;
mod list;
mod plan;
mod reseal;

use crate::{
    clock::Timestamp,
    server::{commands::Error, keys, store::Store},
};

pub(crate) use reseal::NewSealing;

pub use crate::server::keys::{Condemned, Successor};

/// The commands on signing keys.
#[derive(Debug, Clone, Copy)]
pub struct Keys<'a> {
    pub(super) store: &'a Store,
    pub(super) policy: &'a keys::Policy,
}

impl Keys<'_> {
    async fn requests(&self, now: Timestamp) -> Result<keys::KeyRequests<'_>, Error> {
        Ok(keys::KeyRequests::read(self.policy, self.store, now).await?)
    }
}
