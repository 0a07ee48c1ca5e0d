//! The state of a verifier, for a readiness check and for metrics.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{Error, Revocation};

/// The state of a verifier.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Status {
    /// The number of tokens accepted since the verifier was built.
    pub accepted: u64,
    /// The number of tokens refused, by [`Error::code`]: every code, in the order of [`Error::CODES`]. A valid token that
    /// does not meet a requirement of the layer or a handler, or lacks a claim that a handler needs, counts as accepted and then as refused.
    pub refused: Vec<(&'static str, u64)>,
    /// The keys of each issuer.
    pub issuers: Vec<IssuerStatus>,
}

impl Status {
    /// Whether usable keys of every issuer are cached: for a readiness check. An API that can do
    /// without one of several issuers reads [`issuers`](Self::issuers) instead.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.issuers.iter().all(|issuer| !matches!(issuer.keys, KeyAvailability::Missing))
    }

    /// The state in the Prometheus text format (`text/plain; version=0.0.4`), for an API that serves metrics.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: &mut dyn Iterator<Item = (String, String)>| {
            text += &format!("# HELP sealwright_verifier_{name} {help}\n# TYPE sealwright_verifier_{name} {kind}\n");
            text.extend(samples.map(|(label, value)| format!("sealwright_verifier_{name}{{{label}}} {value}\n")));
        };
        // Codes and issuers need no escaping: codes are constants, and an issuer is a valid URL.
        let result = |code: &str, count: u64| (format!("result=\"{code}\""), count.to_string());
        let tokens = [result("accepted", self.accepted)].into_iter().chain(self.refused.iter().map(|(code, count)| result(code, *count)));
        family("tokens_total", "counter", "Tokens by result", &mut { tokens });
        let mut of_issuers = |name: &str, kind: &str, help: &str, value: &dyn Fn(&IssuerStatus) -> Option<String>| {
            let samples = self.issuers.iter().filter_map(|issuer| Some((format!("issuer=\"{}\"", issuer.issuer), value(issuer)?)));
            family(name, kind, help, &mut { samples });
        };
        of_issuers("key_fetches_total", "counter", "Attempts to fetch the issuer's keys", &|issuer| Some(issuer.fetches.to_string()));
        of_issuers("key_fetch_failures_total", "counter", "Attempts that failed", &|issuer| Some(issuer.failures.to_string()));
        of_issuers("keys", "gauge", "Keys of the issuer that are used", &|issuer| Some(issuer.kids.len().to_string()));
        of_issuers("keys_skipped", "gauge", "Keys of the issuer that are not used", &|issuer| Some(issuer.skipped.len().to_string()));
        of_issuers("keys_usable", "gauge", "Whether tokens can be checked", &|issuer| {
            Some(u8::from(issuer.keys != KeyAvailability::Missing).to_string())
        });
        of_issuers("key_age_seconds", "gauge", "Time since the keys were fetched", &|issuer| {
            issuer.age.map(|age| age.as_secs_f64().to_string())
        });
        of_issuers("status_list_fetches_total", "counter", "Attempts to fetch status lists of the issuer", &|issuer| {
            Some(issuer.status_list_fetches.to_string())
        });
        of_issuers("status_list_fetch_failures_total", "counter", "Attempts that failed", &|issuer| {
            Some(issuer.status_list_failures.to_string())
        });
        of_issuers("status_lists", "gauge", "Status lists that tokens of the issuer name", &|issuer| {
            Some(issuer.status_lists.len().to_string())
        });
        of_issuers("status_lists_stale", "gauge", "Status lists that the issuer has not confirmed in time", &|issuer| {
            Some(issuer.status_lists.iter().filter(|list| list.is_stale).count().to_string())
        });
        of_issuers("status_list_age_seconds", "gauge", "Time since the issuer confirmed the oldest status list", &|issuer| {
            issuer.status_lists.iter().filter_map(|list| list.age).max().map(|age| age.as_secs_f64().to_string())
        });
        text
    }
}

/// The keys of one issuer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct IssuerStatus {
    /// The issuer.
    pub issuer: String,
    /// Whether its keys are available.
    pub keys: KeyAvailability,
    /// The ids of the keys that are used.
    pub kids: Vec<String>,
    /// The keys of its document that are skipped, and why.
    pub skipped: Vec<String>,
    /// How long ago the keys were fetched. `None` if they were given, or never fetched.
    pub age: Option<Duration>,
    /// Why the last attempt to fetch them failed, and how long ago. `None` if it succeeded.
    pub last_error: Option<(String, Duration)>,
    /// Whether an attempt to fetch them is in flight.
    pub fetching: bool,
    /// The number of attempts to fetch them, including one in flight.
    pub fetches: u64,
    /// The number of attempts that failed.
    pub failures: u64,
    /// Whether revoked tokens are refused.
    pub revocation: Revocation,
    /// The status lists that its tokens named in the last hour, or for as long as lists are used if that is longer. In an outage, none is forgotten.
    pub status_lists: Vec<StatusListState>,
    /// The number of attempts to fetch status lists, including those in flight.
    pub status_list_fetches: u64,
    /// The number of those that failed.
    pub status_list_failures: u64,
}

/// The state of one status list.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StatusListState {
    /// Its URI.
    pub uri: String,
    /// How long ago the issuer confirmed it, by a newer list or by the answer that it is unchanged. `None` if it was never fetched.
    pub age: Option<Duration>,
    /// Whether that is longer ago than three times its `ttl`, or the list has expired, so that [`Revocation::Strict`] does not use it. Also true if it was
    /// never fetched.
    pub is_stale: bool,
    /// Whether the issuer has answered for a minute or longer that there is no such list, and it could not be fetched since. Its tokens are refused.
    pub is_gone: bool,
    /// Why the last attempt to fetch it failed, and how long ago. `None` if it succeeded.
    pub last_error: Option<(String, Duration)>,
    /// Whether an attempt to fetch it is in flight.
    pub fetching: bool,
    /// The number of attempts to fetch it, including one in flight.
    pub fetches: u64,
    /// The number of attempts that failed.
    pub failures: u64,
}

/// Whether keys to check tokens with are available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyAvailability {
    /// Given when the verifier was built. They never expire.
    Fixed,
    /// Fetched, and still fresh.
    Fresh,
    /// Older than that, but still used, because the issuer has not provided newer ones.
    Stale,
    /// None yet, or none that may still be used: every token gets [`Error::KeysUnavailable`].
    Missing,
}

/// Counts tokens by result.
#[derive(Debug, Default)]
pub(super) struct Counters {
    accepted: AtomicU64,
    refused: [AtomicU64; Error::CODES.len()],
}

impl Counters {
    pub(super) fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, error: &Error) {
        if let Some(at) = Error::CODES.iter().position(|code| *code == error.code()) {
            self.refused[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn status(&self, issuers: Vec<IssuerStatus>) -> Status {
        let refused = self.refused.iter().map(|count| count.load(Ordering::Relaxed));
        let refused = Error::CODES.iter().copied().zip(refused).collect();
        Status { accepted: self.accepted.load(Ordering::Relaxed), refused, issuers }
    }
}
