//! A mark beside a new sealing key, from before the key is there until its issuer is in the database.
//!
//! A sealing key without an issuer usually means that the database is lost. With the mark it means that the first start ended in
//! between, and that the next one goes on with it.

use std::{fs, io, path::PathBuf};

use super::Policy;

/// The mark. Its text is the `kid` of the new key, so that it says nothing of a key that is put there later.
#[derive(Debug)]
pub(super) struct Founding(PathBuf);

impl Founding {
    pub(super) fn of(policy: &Policy) -> Self {
        Self(policy.dir.join("sealing.key.founding"))
    }

    /// Marks the key `kid`, which is about to be made.
    pub(super) fn begin(&self, kid: &str) -> io::Result<()> {
        fs::write(&self.0, kid)
    }

    pub(super) fn is_of(&self, kid: &str) -> bool {
        fs::read_to_string(&self.0).is_ok_and(|marked| marked == kid)
    }

    /// Removes the mark. One that stays is harmless while the database is there.
    pub(super) fn end(&self) {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, mark = %self.0.display(), "the mark of a new sealing key could not be removed: remove it");
            }
            _ => {}
        }
    }
}
