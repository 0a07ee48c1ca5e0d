use super::Keys;
use crate::server::{
    commands::Error,
    keys::{self, ListedKeys},
};

impl Keys<'_> {
    /// All signing keys, also those that are damaged.
    pub(crate) async fn list(&self) -> Result<ListedKeys, Error> {
        Ok(keys::list(self.policy, self.store).await?)
    }
}
