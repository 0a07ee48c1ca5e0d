//! Limits on failed passwords, checked before anything is hashed. Failures are counted per user name, per source and per client,
//! and also per user name and source together. A source from which the user has signed in before is limited only by failures
//! from that source, so that other people's failures elsewhere do not lock the user out.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use super::{
    attempts::{Attempt, Attempts, Limited, Policy as AttemptsPolicy},
    known_sources::{KnownSources, LookUpError},
    network::Network,
};
use crate::{
    clock::SharedClock,
    protocol::ClientId,
    server::{
        model::Username,
        settings::{Error, Setting, Values, duration, number, setting},
    },
};

/// The limits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// Failures for one secret, or for one user name.
    pub(crate) attempts: AttemptsPolicy,
    /// Failures that are allowed at once per client and source, over all user names.
    pub(crate) per_source: NonZeroU32,
    /// Failures that are allowed at once per client, over all user names and sources.
    pub(crate) per_client: NonZeroU32,
}

impl Policy {
    pub(crate) const SETTINGS: &'static [Setting] = &[
        setting(
            "failed_attempts_burst",
            Some("10"),
            "failed attempts before the limit applies: wrong passwords per client and user name, wrong secrets per client and source",
            "a number from 1 to 1000",
        ),
        setting("failed_attempts_interval", Some("10s"), "time after which one more failed attempt is allowed", "a duration from 1s to 1h"),
        setting(
            "failed_attempts_per_source",
            Some("100"),
            "failed passwords for all user names, per client and source, before the limit applies; it refills in failed_attempts_burst times failed_attempts_interval",
            "a number from 1 to 10000",
        ),
        setting(
            "failed_attempts_per_client",
            Some("1000"),
            "failed passwords for all user names and sources, per client, before the limit applies; it refills in the same time",
            "a number from 1 to 100000",
        ),
    ];

    pub(crate) fn read(values: &Values) -> Result<Self, Error> {
        Ok(Self {
            attempts: AttemptsPolicy {
                burst: values.parse("failed_attempts_burst", number::<NonZeroU32>(1, 1000))?,
                interval: values.parse("failed_attempts_interval", duration(Duration::from_secs(1), Duration::from_secs(3600)))?,
            },
            per_source: values.parse("failed_attempts_per_source", number::<NonZeroU32>(1, 10_000))?,
            per_client: values.parse("failed_attempts_per_client", number::<NonZeroU32>(1, 100_000))?,
        })
    }

    /// A limit of `burst` failures that refills in the same time as the limit of a user name.
    fn over_all_names(&self, burst: NonZeroU32) -> AttemptsPolicy {
        let interval = self.attempts.interval * self.attempts.burst.get() / burst.get();
        AttemptsPolicy { burst, interval: interval.max(Duration::from_millis(1)) }
    }
}

#[derive(Debug)]
pub(crate) struct PasswordLimits {
    names: Attempts,
    sources: Attempts,
    clients: Attempts,
    /// Per client, user name and source.
    own: Attempts,
    pub(crate) known: KnownSources,
}

/// An attempt at a password.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PasswordAttempt<'a> {
    pub(crate) client: &'a ClientId,
    /// The normalized user name, or the name as typed if it is not a valid one.
    pub(crate) name: &'a str,
    pub(crate) user: Option<&'a Username>,
    pub(crate) network: &'a Network,
}

/// An attempt that is allowed. If it is dropped, it counts as a failure.
#[derive(Debug)]
#[must_use = "an attempt that is dropped counts as a failure"]
pub(crate) struct Admitted {
    source: Attempt,
    /// `None` if these limits are used up and the source is known.
    general: Option<General>,
    own: Attempt,
}

/// The limits that all sources share.
#[derive(Debug)]
struct General {
    client: Attempt,
    name: Attempt,
}

/// Why an attempt is not allowed.
#[derive(Debug)]
pub(crate) enum NotAdmitted {
    /// The name of the limit in the metrics, and how long to wait.
    Limited(&'static str, Limited),
    Fault(LookUpError),
}

impl PasswordLimits {
    // Names in the metrics.
    const BY_NAME: &str = "password";
    const BY_SOURCE: &str = "password_source";
    const BY_CLIENT: &str = "password_client";

    pub(crate) fn new(policy: Policy, known: KnownSources, clock: &SharedClock) -> Self {
        let attempts = |policy| Attempts::new(policy, Arc::clone(clock));
        Self {
            names: attempts(policy.attempts),
            sources: attempts(policy.over_all_names(policy.per_source)),
            clients: attempts(policy.over_all_names(policy.per_client)),
            own: attempts(policy.attempts),
            known,
        }
    }

    /// Counts an attempt, or returns why it is not allowed.
    pub(crate) async fn admit(&self, attempt: PasswordAttempt<'_>) -> Result<Admitted, NotAdmitted> {
        let PasswordAttempt { client, name, user, network } = attempt;
        // This limit applies to known sources too, since other sources cannot use it up. Without it, a source that guesses could tell its
        // known users from all others, and could guess their passwords without limit.
        let source = self.sources.begin_in_turn(&[client.as_str(), network.as_str()]).await;
        let source = source.map_err(|limited| NotAdmitted::Limited(Self::BY_SOURCE, limited))?;
        let general = match self.general(attempt, false).await {
            Ok(general) => Some(general),
            Err(_) => {
                let known = match user {
                    Some(user) => match self.known.contain(client, user, network).await {
                        // Many look-ups wait. The caller is limited; this is not a fault of this server.
                        Err(LookUpError::Slow(_)) => false,
                        known => known.map_err(NotAdmitted::Fault)?,
                    },
                    None => false,
                };
                // Attempts that are still under way may succeed and free a place.
                if known { None } else { Some(self.general(attempt, true).await?) }
            }
        };
        let own = self.own.begin_in_turn(&[client.as_str(), name, network.as_str()]).await;
        let own = own.map_err(|limited| NotAdmitted::Limited(Self::BY_NAME, limited))?;
        Ok(Admitted::new(source, general, own))
    }

    /// Counts an attempt against the limits that all sources share.
    async fn general(&self, attempt: PasswordAttempt<'_>, in_turn: bool) -> Result<General, NotAdmitted> {
        let PasswordAttempt { client, name, .. } = attempt;
        let begin = async |attempts: &Attempts, parts: &[&str], kind| {
            let begun = if in_turn { attempts.begin_in_turn(parts).await } else { attempts.begin(parts).await };
            begun.map_err(|limited| NotAdmitted::Limited(kind, limited))
        };
        let by_client = begin(&self.clients, &[client.as_str()], Self::BY_CLIENT).await?;
        let by_name = begin(&self.names, &[client.as_str(), name], Self::BY_NAME).await?;
        Ok(General { client: by_client, name: by_name })
    }
}

impl Admitted {
    fn new(mut source: Attempt, mut general: Option<General>, mut own: Attempt) -> Self {
        for attempt in general.iter_mut().flat_map(|general| [&mut general.client, &mut general.name]) {
            attempt.made();
        }
        source.made();
        own.made();
        Self { source, general, own }
    }

    /// Whether the source has been found to be known.
    pub(crate) const fn is_at_known_source(&self) -> bool {
        self.general.is_none()
    }

    /// The password was right. Earlier failures of this source for this name are forgotten (NIST SP 800-63B section 5.2.2). The
    /// other limits keep theirs: an attacker may have an account too, and the user is known at this source from now on.
    pub(crate) fn succeeded(self) {
        let Self { source, general, own } = self;
        own.forgive();
        Self::uncount(source, general);
    }

    /// The password could not be checked because of a fault of this server.
    pub(crate) fn give_back(self) {
        let Self { source, general, own } = self;
        own.give_back();
        Self::uncount(source, general);
    }

    fn uncount(source: Attempt, general: Option<General>) {
        source.give_back();
        if let Some(General { client, name }) = general {
            client.give_back();
            name.give_back();
        }
    }
}
