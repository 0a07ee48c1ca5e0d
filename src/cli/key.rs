//! `sealwright key`: signing keys.

use clap::Subcommand;
use serde::Serialize;

use super::{
    Operator,
    error::Error,
    output::{Output, or_never, rfc3339, rfc3339_if_any, table},
};
use crate::{
    clock::Timestamp,
    server::model::{KeyState, SigningKeyRow},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List all signing keys, the newest first
    List {
        #[command(flatten)]
        output: Output,
    },
}

impl Command {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Error> {
        let Self::List { output } = self;
        let now = operator.act.now;
        let (readable, damaged) = operator.commands.list_keys().await?;
        let views: Vec<KeyView> = readable.into_iter().map(|key| KeyView::new(key, now)).collect();
        output.print(&views, |views| {
            let row = |view: &KeyView| {
                [
                    view.kid.clone(),
                    view.alg.clone(),
                    view.state.to_string(),
                    view.activates_at.clone(),
                    or_never(view.retires_at.clone()),
                    or_never(view.expires_at.clone()),
                ]
            };
            table(["KEY", "ALG", "STATE", "ACTIVATES", "RETIRES", "EXPIRES"], views.iter().map(row))
        })?;
        // The readable keys were printed; the first damaged one is reported.
        damaged.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// A signing key as it is printed, without its private key.
#[derive(Serialize)]
struct KeyView {
    kid: String,
    alg: String,
    generation: i64,
    state: KeyState,
    published_at: String,
    activates_at: String,
    retires_at: Option<String>,
    expires_at: Option<String>,
    revoked_at: Option<String>,
}

impl KeyView {
    fn new(key: SigningKeyRow, now: Timestamp) -> Self {
        Self {
            state: key.state(now),
            alg: key.algorithm.to_string(),
            generation: key.generation,
            published_at: rfc3339(key.published_at),
            activates_at: rfc3339(key.activates_at),
            retires_at: rfc3339_if_any(key.retires_at),
            expires_at: rfc3339_if_any(key.expires_at),
            revoked_at: rfc3339_if_any(key.revoked_at),
            kid: key.kid,
        }
    }
}
