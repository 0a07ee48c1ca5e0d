use std::{io, path::PathBuf, sync::Arc};

use crate::server::{custody, store};

/// Why the keys cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "the database has a sealing key, but there is none at {}: copy sealing.key there from the node that created the issuer ({origin}) or from its backup; nothing was changed",
        place.display()
    )]
    SealingKeyMissing { place: PathBuf, origin: String },
    #[error(
        "the sealing key from {place} is not the one that this database was sealed with: copy the file from the node that created the issuer ({origin}, sealing key {wanted}) or from its backup; nothing was changed"
    )]
    SealingKeyWrong { place: String, origin: String, wanted: String },
    #[error("the sealing key from {place} cannot be read: {why}; restore it from its backup; nothing was changed")]
    SealingKeyMalformed { place: String, why: String },
    #[error(transparent)]
    Exposed(#[from] custody::Exposed),
    #[error("the file {} cannot be used: {source}", place.display())]
    File { place: PathBuf, source: Arc<io::Error> },
    #[error("the database has no sealing key yet: start the server once, which creates it")]
    NotInitialized,
    #[error("the sealed text does not open: {0}")]
    Unopened(String),
    #[error("a signing key could not be generated: {0}")]
    Generation(String),
    #[error("the signing threads could not be started: {0}")]
    Threads(Arc<io::Error>),
    #[error(transparent)]
    Store(#[from] store::Error),
}
