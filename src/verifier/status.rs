//! What a verifier says of itself: for a readiness check, and for metrics.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::Error;

/// How a verifier is doing.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Status {
    /// Tokens that were found good, since the verifier was built.
    pub accepted: u64,
    /// Tokens that were refused, by [`Error::code`]; every code is there, in the order of [`Error::CODES`]. A token that is good, but
    /// lacks what the layer or a handler requires, counts as accepted and then as refused.
    pub refused: Vec<(&'static str, u64)>,
    /// Each issuer's keys.
    pub issuers: Vec<IssuerStatus>,
}

impl Status {
    /// Whether there are keys of every issuer that are good to check tokens with now: for a readiness check. An API that can do
    /// without one of several issuers looks at [`issuers`](Self::issuers) itself.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.issuers.iter().all(|issuer| !matches!(issuer.keys, KeyState::Missing))
    }

    /// The same as Prometheus reads it (its text format 0.0.4), for an API that serves metrics: `text/plain; version=0.0.4`.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: &mut dyn Iterator<Item = (String, String)>| {
            text += &format!("# HELP sealwright_verifier_{name} {help}\n# TYPE sealwright_verifier_{name} {kind}\n");
            text.extend(samples.map(|(label, value)| format!("sealwright_verifier_{name}{{{label}}} {value}\n")));
        };
        // Neither a code nor an issuer holds anything that would have to be escaped: the one is ours, the other a lawful URL.
        let result = |code: &str, count: u64| (format!("result=\"{code}\""), count.to_string());
        let tokens = [result("accepted", self.accepted)].into_iter().chain(self.refused.iter().map(|(code, count)| result(code, *count)));
        family("tokens_total", "counter", "Tokens by what came of them", &mut { tokens });
        let mut of_issuers = |name: &str, kind: &str, help: &str, value: &dyn Fn(&IssuerStatus) -> Option<String>| {
            let samples = self.issuers.iter().filter_map(|issuer| Some((format!("issuer=\"{}\"", issuer.issuer), value(issuer)?)));
            family(name, kind, help, &mut { samples });
        };
        of_issuers("key_fetches_total", "counter", "Attempts to fetch the issuer's keys", &|issuer| Some(issuer.fetches.to_string()));
        of_issuers("key_fetch_failures_total", "counter", "Attempts that failed", &|issuer| Some(issuer.failures.to_string()));
        of_issuers("keys", "gauge", "Keys of the issuer that are used", &|issuer| Some(issuer.kids.len().to_string()));
        of_issuers("keys_skipped", "gauge", "Keys of the issuer that are not used", &|issuer| Some(issuer.skipped.len().to_string()));
        of_issuers("keys_usable", "gauge", "Whether tokens can be checked", &|issuer| {
            Some(u8::from(issuer.keys != KeyState::Missing).to_string())
        });
        of_issuers("key_age_seconds", "gauge", "Time since the keys were fetched", &|issuer| {
            issuer.age.map(|age| age.as_secs_f64().to_string())
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
    /// Whether its keys are there.
    pub keys: KeyState,
    /// The ids of the keys that are used.
    pub kids: Vec<String>,
    /// The keys of its document that are not used, and why.
    pub skipped: Vec<String>,
    /// How long ago the keys were fetched. None: they were given, or never fetched.
    pub age: Option<Duration>,
    /// Why the last attempt to fetch them failed, and how long ago that was. None: it did not.
    pub last_error: Option<(String, Duration)>,
    /// Whether an attempt to fetch them is under way.
    pub fetching: bool,
    /// Attempts to fetch them, with that one.
    pub fetches: u64,
    /// The attempts that failed.
    pub failures: u64,
}

/// Whether there are keys to check tokens with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyState {
    /// Given at the building, good for ever.
    Fixed,
    /// Fetched, and as young as the issuer wants them to be.
    Fresh,
    /// Older than that, and used for want of newer ones: the issuer has not answered for a while.
    Stale,
    /// None yet, or none that may still be used: every token is answered by [`Error::KeysUnavailable`].
    Missing,
}

/// What happened to the tokens.
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
        let refused = Error::CODES.into_iter().zip(refused).collect();
        Status { accepted: self.accepted.load(Ordering::Relaxed), refused, issuers }
    }
}
