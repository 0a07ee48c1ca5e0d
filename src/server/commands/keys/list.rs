use super::Keys;
use crate::server::{commands::Error, model::SigningKeyRow};

impl Keys<'_> {
    /// All signing keys, newest first, and the error of the first damaged one.
    pub(crate) async fn list(&self) -> Result<(Vec<SigningKeyRow>, Option<Error>), Error> {
        let stored = self.store.list_signing_keys().await?;
        Ok((stored.rows, stored.damaged.into_iter().next().map(|key| key.error.into())))
    }
}
