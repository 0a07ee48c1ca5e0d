//! Keys: the sealing key that encrypts secrets at rest, the signing keys, and the ring that holds them in memory.

mod clock_check;
mod error;
mod export;
mod fetchers;
mod first_start_mark;
mod import;
mod late_start;
mod listing;
mod mac_key;
mod on_request;
mod opened;
mod plan;
mod reseal;
mod ring;
mod rotation;
mod sealing;
mod signer;

use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;

pub(crate) use clock_check::{ClockCheck, ClockFault};
pub(crate) use error::Error;
pub(crate) use export::{ALGORITHMS, Export, ExportedKey, NotExported};
pub(crate) use fetchers::{Fetcher, JwksFetchers};
pub(crate) use import::{ForeignKey, KeyFile, NotImported, Refused};
pub(crate) use late_start::refuse_beside_later_servers;
pub(crate) use listing::{KeyPlan, ListedKey, ListedKeys, QuarantinedKey, list, name_of_key, plan as plan_ahead};
pub(crate) use mac_key::MacKey;
pub use on_request::{Condemned, Successor};
pub(crate) use on_request::{KeyRequests, READ_WITHIN, RequestError};
pub(crate) use opened::PublishedKey;
pub(crate) use plan::{KeyEvent, KeyEventKind};
pub(crate) use reseal::{Begun, Reseal, Resealed, Retired};
pub(crate) use ring::{KeyRing, PublicationKey, SignError, VerifyError};
pub(crate) use rotation::check;
pub(crate) use sealing::SealingKeys;

use plan::Schedule;

use crate::{
    protocol::Ed25519Name,
    server::settings::{self, Setting, Values, cores, duration, number, path, setting, without_reason},
};

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
    /// How long a key signs.
    pub(crate) rotation_period: Duration,
    /// By which factor rotation runs faster than it should. 1, except in a rehearsal.
    rehearsal_speed: u32,
    /// Size of a new RSA key in bits: 2048, 3072 or 4096.
    pub(crate) rsa_bits: usize,
    /// The `alg` of Ed25519 in tokens and in the JWKS.
    pub(crate) ed25519_alg: Ed25519Name,
    /// Maximum number of threads that sign by RSA at the same time.
    pub(crate) signing_threads: usize,
    /// Maximum number of signatures that wait.
    pub(crate) signing_queue: usize,
}

impl Policy {
    pub(crate) const SHORTEST_LEAD: Duration = Duration::from_secs(2 * 3600);
    pub(crate) const LONGEST_LEAD: Duration = Duration::from_secs(30 * 24 * 3600);

    pub(crate) const SETTINGS: &'static [Setting] = &[
        setting("keys_dir", Some("keys"), "the folder of sealing.key", "a path"),
        Setting {
            name: "sealing_key",
            help: "the sealing key itself instead of a file: the content of a sealing.key",
            allowed: "a JWK set with at least one oct key of 256 bits that has a kid",
            default: None,
            secret: true,
            list: false,
        },
        setting(
            "key_publish_lead",
            Some("24h"),
            "how long a new key is published before it signs, which limits how long verifiers may cache keys",
            "a duration from 2h to 30days",
        ),
        setting(
            "key_rotation_period",
            Some("30days"),
            "how long a signing key signs before the next one does; a period shorter than the lead counts as the lead",
            "a duration from 1day to 365days",
        ),
        setting(
            "key_rehearsal_speed",
            Some("1"),
            "divides the times of key rotation by this number, to rehearse rotations with your verifiers within minutes; not for production: \
             verifiers must cache keys for shorter times, and tokens must have shorter lifetimes",
            "a number from 1 to 1440",
        ),
        setting(
            "rsa_bits",
            Some("2048"),
            "the size of new RSA keys, for RS256 and PS256 alike; a signature with 3072 bits takes about 3 times as long, with 4096 about 6 times",
            "2048, 3072 or 4096",
        ),
        setting(
            "ed25519_alg",
            Some("Ed25519"),
            "the alg of Ed25519 in tokens and published keys; EdDSA, its name before RFC 9864, is for libraries that know no other",
            "Ed25519 or EdDSA",
        ),
        setting(
            "signing_threads",
            None,
            "maximum number of threads that sign by RSA at the same time; by default, and at most, one per core",
            "a number from 1 to 256",
        ),
        setting(
            "signing_queue",
            Some("1024"),
            "maximum number of queued signatures by RSA; further requests are answered with 503",
            "a number from 1 to 100000",
        ),
    ];

    fn schedule(&self) -> Schedule {
        Schedule::new(self.rotation_period, self.publish_lead).at_speed(self.rehearsal_speed)
    }

    /// The shortest lead that an operator may choose.
    fn shortest_lead(&self) -> Duration {
        Self::SHORTEST_LEAD / self.rehearsal_speed
    }

    /// Whether rotation runs faster than it should, to rehearse it: by this factor.
    pub(crate) fn rehearsal(&self) -> Option<u32> {
        (self.rehearsal_speed > 1).then_some(self.rehearsal_speed)
    }

    pub(crate) fn read(values: &Values) -> Result<Self, settings::Error> {
        Ok(Self {
            dir: values.parse("keys_dir", path)?,
            sealing_key: values.parse_if_any("sealing_key", |text| Ok(SecretString::from(text)))?,
            found_new_issuer: false,
            publish_lead: values.parse("key_publish_lead", duration(Self::SHORTEST_LEAD, Self::LONGEST_LEAD))?,
            rotation_period: values
                .parse("key_rotation_period", duration(Duration::from_secs(24 * 3600), Duration::from_secs(365 * 24 * 3600)))?,
            rehearsal_speed: values.parse("key_rehearsal_speed", number(1, 1440))?,
            rsa_bits: values.parse("rsa_bits", |text| match text {
                "2048" => Ok(2048),
                "3072" => Ok(3072),
                "4096" => Ok(4096),
                _ => Err(None),
            })?,
            ed25519_alg: values.parse("ed25519_alg", |text| text.parse().map_err(without_reason))?,
            signing_threads: values.parse_if_any("signing_threads", number(1, 256))?.unwrap_or_else(cores),
            signing_queue: values.parse("signing_queue", number(1, 100_000))?,
        })
    }
}
