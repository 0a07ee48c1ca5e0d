use std::time::Duration;

use super::Keys;
use crate::{
    clock::Timestamp,
    server::{
        commands::Error,
        keys::{self, KeyPlan},
    },
};

impl Keys<'_> {
    /// What will happen to the signing keys within `duration`. Changes nothing.
    pub(crate) async fn plan(&self, now: Timestamp, duration: Duration) -> Result<KeyPlan, Error> {
        Ok(keys::plan_ahead(self.policy, self.store, now, duration).await?)
    }
}
