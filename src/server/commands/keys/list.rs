use crate::server::{
    commands::{Commands, Error},
    keys::{self, ListedKeys},
};

impl Commands {
    /// All signing keys, also those that are damaged.
    pub(crate) async fn list_keys(&self) -> Result<ListedKeys, Error> {
        Ok(keys::list(&self.policy.keys, &self.store).await?)
    }
}
