//! Signs: the sealing key that guards what is at rest, the signing keys, and the ring that holds them in memory.

mod error;
mod founding;
mod mac_key;
mod opened;
mod ring;
mod rotation;
mod sealing;
mod signer;

use std::{path::PathBuf, time::Duration};

pub(crate) use error::Error;
pub(crate) use mac_key::MacKey;
pub(crate) use ring::{KeyRing, SignError};
pub(crate) use rotation::check;
pub(crate) use sealing::SealingKeys;

use crate::server::secret::Redacted;

/// How far the clocks of nodes and verifiers may lie apart.
pub(crate) const SKEW: Duration = Duration::from_secs(60);

/// What signing obeys.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// Where `sealing.key` is.
    pub(crate) dir: PathBuf,
    /// The sealing key itself, for who keeps it elsewhere than in a file.
    pub(crate) sealing_key: Option<Redacted>,
    /// Whether a new issuer may be founded although there is a sealing key already.
    pub(crate) found_new_issuer: bool,
    /// How long a key is published before it signs: the lead. At least [`Self::SHORTEST_LEAD`].
    pub(crate) publish_lead: Duration,
    /// Bits of a new RSA key: 2048, 3072 or 4096.
    pub(crate) rsa_bits: usize,
    pub(crate) signing_threads: usize,
    /// Signatures that wait at most.
    pub(crate) signing_queue: usize,
}

impl Policy {
    pub(crate) const SHORTEST_LEAD: Duration = Duration::from_secs(2 * 3600);
}
