use super::{Commands, Error};
use crate::server::model::DetailedChange;

impl Commands {
    /// The newest changes, newest first, at most a thousand.
    pub(crate) async fn list_changes(&self) -> Result<Vec<DetailedChange>, Error> {
        Ok(self.store.list_newest_changes().await?)
    }
}
