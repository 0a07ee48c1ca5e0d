use super::{Commands, Error};
use crate::server::model::{ChangeFilter, DetailedChange};

impl Commands {
    /// The newest of the selected changes, newest first.
    pub(crate) async fn list_changes(&self, filter: &ChangeFilter) -> Result<Vec<DetailedChange>, Error> {
        Ok(self.store.list_newest_changes(filter).await?)
    }
}
