//! Lists in pages, and their filters as values to bind.

use super::row::UNREADABLE;
use crate::{clock::Timestamp, server::model::Listed};

/// Maximum number of entities that one query of a list reads.
pub(super) const PAGE: i64 = 500;

/// Consecutive entities of a list.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub(crate) listed: Vec<Listed<T>>,
    /// The name after which the next page begins, if there may be one.
    pub(crate) next: Option<String>,
}

impl<T> Page<T> {
    pub(super) fn of(listed: Vec<Listed<T>>) -> Self {
        let full = i64::try_from(listed.len()).is_ok_and(|count| count >= PAGE);
        // What follows an unreadable name is as unreadable: SQLite orders blobs last.
        let next = listed.last().filter(|last| full && last.name != UNREADABLE).map(|last| last.name.clone());
        Self { listed, next }
    }
}

/// A filter of texts. The empty text selects all.
pub(super) fn text_or_empty(text: Option<impl ToString>) -> String {
    text.map(|text| text.to_string()).unwrap_or_default()
}

/// A filter of times. Zero selects all.
pub(super) fn time_or_zero(time: Option<Timestamp>) -> i64 {
    time.map_or(0, Timestamp::seconds)
}

/// A filter of disabled and enabled entities: 1 and 2. Zero selects all.
pub(super) fn disabled_number(disabled: Option<bool>) -> i64 {
    match disabled {
        None => 0,
        Some(true) => 1,
        Some(false) => 2,
    }
}
