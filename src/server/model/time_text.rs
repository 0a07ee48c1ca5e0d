use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::clock::Timestamp;

/// Formats a time like `2026-11-24T06:01:11Z`. Years after 9999 have no such form and print as seconds.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    let date = OffsetDateTime::from_unix_timestamp(time.seconds()).ok();
    date.and_then(|date| date.format(&Rfc3339).ok()).unwrap_or_else(|| format!("{} s", time.seconds()))
}
