//! Keys: the sealing key that encrypts secrets at rest, the signing keys, and the ring that holds them in memory.

mod error;
mod first_start_mark;
mod mac_key;
mod opened;
mod plan;
mod ring;
mod rotation;
mod sealing;
mod signer;

use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;

pub(crate) use error::Error;
pub(crate) use mac_key::MacKey;
pub(crate) use ring::{KeyRing, SignError};
pub(crate) use rotation::check;
pub(crate) use sealing::SealingKeys;

/// Maximum difference between the clocks of nodes and verifiers.
pub(crate) const SKEW: Duration = Duration::from_secs(60);

/// The settings of keys and signing.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// The folder of `sealing.key`.
    pub(crate) dir: PathBuf,
    /// The sealing key itself, if it is not kept in a file.
    pub(crate) sealing_key: Option<SecretString>,
    /// Whether a new issuer may be created although a sealing key exists already.
    pub(crate) found_new_issuer: bool,
    /// The lead: how long a key is published before it signs. At least [`Self::SHORTEST_LEAD`].
    pub(crate) publish_lead: Duration,
    /// Size of a new RSA key in bits: 2048, 3072 or 4096.
    pub(crate) rsa_bits: usize,
    pub(crate) signing_threads: usize,
    /// Maximum number of signatures that wait.
    pub(crate) signing_queue: usize,
}

impl Policy {
    pub(crate) const SHORTEST_LEAD: Duration = Duration::from_secs(2 * 3600);
}
