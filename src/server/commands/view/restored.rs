use serde::Serialize;

use crate::server::{
    model::rfc3339,
    restore::{LostChange, Report},
};

/// What `restored` did, and what is left for the operator to do.
#[derive(Debug, Serialize)]
pub(crate) struct RestoredView {
    pub(crate) database: String,
    pub(crate) logins_ended: u64,
    pub(crate) refresh_token_key: &'static str,
    pub(crate) signing_keys_withdrawn: Vec<String>,
    pub(crate) signing_keys_lost: Vec<String>,
    /// Whether this node had a record that shows what was lost.
    pub(crate) recorded: bool,
    pub(crate) changes_lost: Vec<LostChangeView>,
    /// Number of further lost changes, which the record no longer contains.
    pub(crate) changes_forgotten: i64,
}

/// A change that the restored database lacks.
#[derive(Debug, Serialize)]
pub(crate) struct LostChangeView {
    pub(crate) number: i64,
    pub(crate) at: String,
    pub(crate) action: String,
    pub(crate) target: String,
    pub(crate) advice: &'static str,
}

impl RestoredView {
    pub(crate) fn new(report: &Report, database: String) -> Self {
        let lost = |lost: &LostChange| LostChangeView {
            number: lost.number,
            at: rfc3339(lost.at),
            action: lost.action.clone(),
            target: lost.target.clone(),
            advice: lost.advice(),
        };
        Self {
            database,
            logins_ended: report.logins_ended,
            refresh_token_key: "replaced",
            signing_keys_withdrawn: report.keys_withdrawn.clone(),
            signing_keys_lost: report.keys_lost.clone(),
            recorded: report.recorded,
            changes_lost: report.changes_lost.iter().map(lost).collect(),
            changes_forgotten: report.changes_forgotten,
        }
    }
}
