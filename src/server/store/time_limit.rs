//! Limits the time of an access to the database.

use std::time::Duration;

use tokio::time::timeout;

use super::Error;

/// Waits for an access to the database no longer than `limit`.
pub(crate) async fn within<T>(limit: Duration, access: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(limit, access).await.unwrap_or(Err(Error::Silent(limit)))
}
