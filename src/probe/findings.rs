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
    found: BTreeMap<(Severity, Kind), Vec<Evidence>>,
    not_checked: Vec<(String, String)>,
    limited: usize,
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

    /// Adds what is wrong with an answer to a request that must be refused, whatever the reason. Returns whether the API accepted it.
    pub(super) fn refused(&mut self, name: &str, answer: &Answer) -> bool {
        match answer {
            Answer::Given(given) if given.status.as_u16() == 429 => self.limited += 1,
            Answer::Given(given) if given.status.as_u16() == 503 => self.add(Severity::Note, Kind::Unavailable, name, answer),
            Answer::Given(given) if given.status.is_server_error() => self.add(Severity::Weakness, Kind::Crash, name, answer),
            Answer::Given(given) => return given.status.is_success(),
            Answer::Ended(_) | Answer::Silent => self.add(Severity::Weakness, Kind::Crash, name, answer),
        }
        false
    }

    pub(super) fn into_parts(mut self) -> (BTreeMap<(Severity, Kind), Vec<Evidence>>, Vec<(String, String)>) {
        if self.limited > 0 {
            let what = format!("{} requests", self.limited);
            self.leave_open(what, "the API answered 429: let it allow this address more, or set --rate");
        }
        (self.found, self.not_checked)
    }
}
