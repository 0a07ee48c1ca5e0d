use super::{Commands, Error};
use crate::server::model::SigningKeyRow;

impl Commands {
    /// All signing keys, newest first, and the error of the first damaged one.
    pub(crate) async fn list_keys(&self) -> Result<(Vec<SigningKeyRow>, Option<Error>), Error> {
        let (readable, damaged): (Vec<_>, Vec<_>) = self.store.list_signing_keys().await?.into_iter().partition(Result::is_ok);
        Ok((readable.into_iter().flatten().collect(), damaged.into_iter().find_map(Result::err).map(Error::from)))
    }
}
