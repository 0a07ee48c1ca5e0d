//! A marker file beside a new sealing key. It is created before the key and removed when the database holds the issuer.
//!
//! A sealing key without an issuer usually means that the database was lost. With the marker it means that the first start was
//! interrupted, and that the next start completes it.

use std::{fs, io, path::PathBuf};

use super::Policy;

/// The marker file. It contains the `kid` of the new key, so that it does not apply to a key that is put there later.
#[derive(Debug)]
pub(super) struct FirstStartMark(PathBuf);

impl FirstStartMark {
    pub(super) fn of(policy: &Policy) -> Self {
        Self(policy.dir.join("sealing.key.founding"))
    }

    /// Marks the key `kid`, which is about to be created.
    pub(super) fn begin(&self, kid: &str) -> io::Result<()> {
        fs::write(&self.0, kid)
    }

    pub(super) fn is_of(&self, kid: &str) -> bool {
        fs::read_to_string(&self.0).is_ok_and(|marked| marked == kid)
    }

    /// Removes the marker. A leftover one is harmless as long as the database exists.
    pub(super) fn end(&self) {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, mark = %self.0.display(), "the marker file of a new sealing key could not be removed; delete it");
            }
            _ => {}
        }
    }
}
