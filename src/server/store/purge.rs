//! Old rows are deleted in small batches, so that other writes wait for one batch and not for all of them. It raises no epoch: what is deleted means
//! nothing any more, and nodes forget it by its end.

use super::{Error, Store};
use crate::clock::Timestamp;

/// Rows that are deleted some time after their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display)]
pub(crate) enum OldRows {
    #[strum(to_string = "logins")]
    Logins,
    #[strum(to_string = "changes")]
    Changes,
    #[strum(to_string = "sources of sign-ins")]
    SignInSources,
    #[strum(to_string = "revocations")]
    Revocations,
    #[strum(to_string = "revocations of tokens whose span is revoked")]
    CoveredRevocations,
    #[strum(to_string = "spans of status lists")]
    StatusSpans,
    #[strum(to_string = "status lists")]
    StatusLists,
    #[strum(to_string = "used assertions")]
    UsedAssertions,
}

/// Those that have ended, or have expired without that.
const LOGINS: &[&str] = &[
    "DELETE FROM logins WHERE id IN (SELECT id FROM logins WHERE absolute_ends_at < $1 ORDER BY absolute_ends_at LIMIT $2)",
    "DELETE FROM logins WHERE id IN (SELECT id FROM logins WHERE idle_ends_at < $1 ORDER BY idle_ends_at LIMIT $2)",
    "DELETE FROM logins WHERE id IN (SELECT id FROM logins WHERE ended_at < $1 ORDER BY ended_at LIMIT $2)",
];

/// The oldest first: a restore takes one that is missing among those that are left for lost.
const CHANGES: &[&str] = &["DELETE FROM changes WHERE n IN (SELECT n FROM changes WHERE at < $1 ORDER BY at, n LIMIT $2)"];

const SIGN_IN_SOURCES: &[&str] = &["DELETE FROM sign_in_sources WHERE (sub, client_id, mac) IN
     (SELECT sub, client_id, mac FROM sign_in_sources WHERE used_at < $1 ORDER BY used_at LIMIT $2)"];

const REVOCATIONS: &[&str] = &["DELETE FROM revocations WHERE (epoch, list_id, start) IN
     (SELECT epoch, list_id, start FROM revocations WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)"];

/// Those of single tokens in a span that was revoked as a whole: another revocation has set their positions for longer. Only of the widest spans,
/// in which they are many.
const COVERED_REVOCATIONS: &[&str] = &["DELETE FROM revocations WHERE (epoch, list_id, start) IN
     (SELECT r.epoch, r.list_id, r.start FROM status_spans s
      JOIN revocations r ON r.list_id = s.list_id AND r.start >= s.start AND r.start < s.start + s.width AND r.width < s.width
      WHERE s.revoked_at < $1 AND s.width = 65536 LIMIT $2)"];

/// A span without an end is in use.
const STATUS_SPANS: &[&str] = &["DELETE FROM status_spans WHERE (list_id, start) IN
     (SELECT list_id, start FROM status_spans WHERE ends_at < $1 ORDER BY ends_at LIMIT $2)"];

/// Those of which nothing is left, and which were replaced before `$1`: nothing is placed in a list any more that is not the newest of its width.
const STATUS_LISTS: &[&str] = &["DELETE FROM status_lists WHERE id IN
     (SELECT l.id FROM status_lists l
      WHERE EXISTS (SELECT 1 FROM status_lists n WHERE n.width = l.width AND n.created_at < $1
                    AND (n.created_at > l.created_at OR (n.created_at = l.created_at AND n.id < l.id)))
        AND NOT EXISTS (SELECT 1 FROM status_spans s WHERE s.list_id = l.id)
        AND NOT EXISTS (SELECT 1 FROM logins g WHERE g.status_list = l.id AND g.status_list IS NOT NULL)
        AND NOT EXISTS (SELECT 1 FROM revocations r WHERE r.list_id = l.id)
      LIMIT $2)"];

const USED_ASSERTIONS: &[&str] = &["DELETE FROM used_assertions WHERE (expires_at, digest) IN
     (SELECT expires_at, digest FROM used_assertions WHERE expires_at < $1 ORDER BY expires_at, digest LIMIT $2)"];

impl OldRows {
    /// Each deletes at most `$2` rows that ended before `$1`, by an index.
    const fn statements(self) -> &'static [&'static str] {
        match self {
            Self::Logins => LOGINS,
            Self::Changes => CHANGES,
            Self::SignInSources => SIGN_IN_SOURCES,
            Self::Revocations => REVOCATIONS,
            Self::CoveredRevocations => COVERED_REVOCATIONS,
            Self::StatusSpans => STATUS_SPANS,
            Self::StatusLists => STATUS_LISTS,
            Self::UsedAssertions => USED_ASSERTIONS,
        }
    }
}

impl Store {
    /// Maximum number of rows that one write deletes.
    const PURGED_AT_ONCE: i64 = 1000;

    /// Deletes a batch of rows that ended before `before`, and returns how many they were. Zero: none is left, or another node is deleting them.
    pub(crate) async fn purge(&self, rows: OldRows, before: Timestamp) -> Result<u64, Error> {
        self.write(move |connection| {
            Box::pin(async move {
                for sql in rows.statements() {
                    let purge = sqlx::query(*sql).bind(before.seconds()).bind(Self::PURGED_AT_ONCE);
                    let purged = purge.execute(&mut *connection).await?.rows_affected();
                    if purged > 0 {
                        return Ok(purged);
                    }
                }
                Ok(0)
            })
        })
        .await
    }
}
