use serde::Serialize;

use crate::server::model::{Damaged, DetailedChange, Facts, rfc3339};

/// A change.
#[derive(Debug, Serialize)]
pub(crate) struct ChangeView {
    pub(crate) number: i64,
    pub(crate) at: String,
    pub(crate) actor: String,
    pub(crate) action: String,
    pub(crate) target: String,
    /// The id of the HTTP request, if the change was made by one.
    pub(crate) request: Option<String>,
    /// The properties that the change removed or changed.
    pub(crate) before: Option<Facts>,
    /// The properties that the change added or changed.
    pub(crate) after: Option<Facts>,
    /// Why the detail cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) damaged: Option<String>,
}

impl From<DetailedChange> for ChangeView {
    fn from(DetailedChange { change, detail }: DetailedChange) -> Self {
        let (detail, damaged) = match detail {
            Ok(detail) => (detail.unwrap_or_default(), None),
            Err(Damaged(why)) => (Default::default(), Some(why)),
        };
        Self {
            number: change.number,
            at: rfc3339(change.at),
            actor: change.actor,
            action: change.action,
            target: change.target,
            request: detail.request,
            before: detail.before,
            after: detail.after,
            damaged,
        }
    }
}
