//! What a run collects.

use std::collections::BTreeMap;

use super::{
    api::Answer,
    kind::{Kind, Severity},
};

/// One thing that the API did wrong.
#[derive(Debug, Clone)]
pub(super) struct Evidence {
    /// The token or the request.
    pub(super) name: String,
    /// How the API answered.
    pub(super) answer: String,
}

/// All of it, by severity and kind, and what could not be checked.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) found: BTreeMap<(Severity, Kind), Vec<Evidence>>,
    /// What could not be checked, and why.
    pub(super) not_checked: Vec<(String, String)>,
    /// How many requests were answered 429.
    pub(super) limited: usize,
}

impl Findings {
    pub(super) fn add(&mut self, severity: Severity, kind: Kind, name: impl Into<String>, answer: &Answer) {
        self.say(severity, kind, name, answer.to_string());
    }

    pub(super) fn say(&mut self, severity: Severity, kind: Kind, name: impl Into<String>, answer: impl Into<String>) {
        self.found.entry((severity, kind)).or_default().push(Evidence { name: name.into(), answer: answer.into() });
    }

    pub(super) fn has(&self, severity: Severity, kind: Kind) -> bool {
        self.found.contains_key(&(severity, kind))
    }

    /// Records something that this run leaves open.
    pub(super) fn leave_open(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.not_checked.push((what.into(), why.into()));
    }

    /// Adds an answer to a request with a good token that is not a success.
    pub(super) fn accepted(&mut self, severity: Severity, kind: Kind, name: impl Into<String>, answer: &Answer) {
        if !answer.is_success() && !self.is_limited(answer) {
            self.add(severity, kind, name, answer);
        }
    }

    /// Counts the answer if the API has not looked at the request, because there were too many.
    fn is_limited(&mut self, answer: &Answer) -> bool {
        let is_limited = answer.status() == Some(429);
        self.limited += usize::from(is_limited);
        is_limited
    }

    /// Adds what is wrong with an answer to a request that must be refused, whatever the reason. Returns whether the API accepted it.
    pub(super) fn refused(&mut self, name: &str, answer: &Answer) -> bool {
        if self.is_limited(answer) {
            return false;
        }
        match answer {
            Answer::Given(given) if given.status.as_u16() == 503 => self.add(Severity::Note, Kind::Unavailable, name, answer),
            Answer::Given(given) if given.status.is_server_error() => self.add(Severity::Weakness, Kind::Crash, name, answer),
            Answer::Given(given) => return given.status.is_success(),
            Answer::Ended(_) | Answer::Silent => self.add(Severity::Weakness, Kind::Crash, name, answer),
        }
        false
    }
}
