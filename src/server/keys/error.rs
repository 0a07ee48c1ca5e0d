use std::{io, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    clock::Timestamp,
    server::{custody, model::rfc3339, store},
};

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
    #[error(
        "the database is sealed with an earlier sealing key ({wanted}), which is in {}: if this is an older copy of the database, keep {place} elsewhere and put that file in its place; nothing was changed",
        retired.display()
    )]
    SealingKeyRetired { place: String, retired: PathBuf, wanted: String },
    #[error(
        "the sealing key comes from {place}, which this command cannot change: add --output FILE, into which it writes the set of keys to put there; nothing was changed"
    )]
    SealingKeyGiven { place: String },
    #[error(
        "a new sealing key ({kid}) was made on another machine, and it is not in {place}: copy sealing.key from the machine of {server}, which has it, then run this command again; nothing was changed"
    )]
    ResealedElsewhere { kid: String, place: String, server: String },
    #[error(
        "the database was not sealed again, because a server cannot open the new sealing key ({kid}) yet: {servers}. Give each of them the keys from {place}; if one no longer runs, wait until it was last seen {} s ago. Then run this command again, which continues",
        wait.as_secs()
    )]
    ServersBehind { kid: String, place: String, servers: String, wait: Duration },
    #[error("the sealing keys changed meanwhile: run this command again, which continues")]
    ResealInterrupted,
    #[error("the sealing key from {place} cannot be read: {why}; restore it from its backup; nothing was changed")]
    SealingKeyMalformed { place: String, why: String },
    #[error(transparent)]
    Exposed(#[from] custody::Exposed),
    #[error("the file {} cannot be used: {source}", place.display())]
    File { place: PathBuf, source: Arc<io::Error> },
    #[error(
        "the file {} cannot be replaced ({source}): if it is mounted or read-only, use --output FILE, into which this command writes the set of keys to put there",
        place.display()
    )]
    NotReplaced { place: PathBuf, source: Arc<io::Error> },
    #[error("the database has no sealing key yet: start the server once, which creates it")]
    NotInitialized,
    #[error("the sealed text does not open: {0}")]
    Unopened(String),
    #[error(
        "a signing key was published at {}, and the clock of this machine shows {}: set this clock; if it is right, the clock that created the key was ahead, and this server can start at that time; nothing was changed",
        rfc3339(*published_at), rfc3339(*now)
    )]
    ClockBehind { now: Timestamp, published_at: Timestamp },
    #[error(
        "another server is alive, whose clock shows {}, and the clock of this machine shows {}: set the clock that is wrong; nothing was changed",
        rfc3339(*alive_at), rfc3339(*now)
    )]
    ClockBehindServer { now: Timestamp, alive_at: Timestamp },
    #[error("no signing key can be used, and none could be created: another one has its generation; run `sealwright check`")]
    NotCreated,
    #[error("a signing key could not be generated: {0}")]
    Generation(String),
    #[error(transparent)]
    Store(#[from] store::Error),
}
