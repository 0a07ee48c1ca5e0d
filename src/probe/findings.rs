//! What a run collects.

use std::collections::BTreeMap;

use serde::Serialize;

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

/// What the run leaves open.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Open {
    /// The kind of finding that there cannot be. `None` if it is none of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<Kind>,
    pub(crate) what: String,
    pub(crate) why: String,
}

/// All of it, by severity and kind, and what could not be checked.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) found: BTreeMap<(Severity, Kind), Vec<Evidence>>,
    /// What could not be checked, and why.
    pub(super) not_checked: Vec<Open>,
    /// How many requests the API has not looked at, because there were too many.
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
    pub(super) fn leave_open(&mut self, kind: Option<Kind>, what: impl Into<String>, why: impl Into<String>) {
        self.not_checked.push(Open { kind, what: what.into(), why: why.into() });
    }

    /// Adds an answer to a request with a good token that is not a success.
    pub(super) fn accepted(&mut self, severity: Severity, kind: Kind, name: impl Into<String>, answer: &Answer) {
        if !answer.is_success() && !self.is_unseen(answer) {
            self.add(severity, kind, name, answer);
        }
    }

    /// Whether the API has not looked at the request, because there were too many, which is counted, or because it has stopped.
    pub(super) fn is_unseen(&mut self, answer: &Answer) -> bool {
        let is_limited = answer.status() == Some(429);
        self.limited += usize::from(is_limited);
        is_limited || matches!(answer, Answer::Unreachable(_))
    }

    /// Counts an answer that says nothing about the request: good tokens were refused at that time too.
    pub(super) fn refused_with_all_others(&mut self) {
        self.limited += 1;
    }

    /// Adds what is wrong with an answer to a request that must be refused, whatever the reason. Returns whether the API accepted it.
    pub(super) fn refused(&mut self, name: &str, answer: &Answer) -> bool {
        if self.is_unseen(answer) {
            return false;
        }
        match answer.status() {
            Some(503) => self.add(Severity::Note, Kind::Unavailable, name, answer),
            // A server that does not know a method says 501.
            Some(501) => {}
            None | Some(500..) => self.add(Severity::Weakness, Kind::Crash, name, answer),
            Some(_) => return answer.is_success(),
        }
        false
    }
}
