use std::time::Duration;

use crate::{
    clock::Timestamp,
    server::{
        commands::{Commands, Error},
        keys::{self, KeyPlan},
    },
};

impl Commands {
    /// What will happen to the signing keys within `duration`. Changes nothing.
    pub(crate) async fn plan_keys(&self, now: Timestamp, duration: Duration) -> Result<KeyPlan, Error> {
        Ok(keys::plan_ahead(&self.policy.keys, &self.store, now, duration).await?)
    }
}
