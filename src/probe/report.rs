//! What a run found, for people and programs.

use std::time::Duration;

use serde::Serialize;

use super::{
    Options,
    advice::Library,
    findings::{Findings, Open},
    kind::{Kind, Severity},
};

/// How many requests of each sort were sent.
#[derive(Debug, Default, Serialize)]
pub(super) struct Counts {
    pub(super) good: usize,
    pub(super) without_scope: usize,
    pub(super) hostile: usize,
    pub(super) requests: usize,
    pub(super) sent: usize,
}

/// The outcome of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) url: String,
    pub(crate) method: String,
    pub(crate) issuer: String,
    pub(crate) audience: String,
    #[serde(flatten)]
    counts: Counts,
    pub(crate) seconds: f64,
    pub(crate) findings: Vec<Finding>,
    pub(crate) not_checked: Vec<Open>,
    /// Requests at which the API did not look, because there were too many: it answered 429, or refused good tokens too.
    pub(crate) limited: usize,
    /// Whether the API stopped answering, so that the rest was not sent.
    pub(crate) stopped: bool,
}

/// What the API did wrong in one way.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) kind: Kind,
    pub(crate) title: &'static str,
    pub(crate) why: &'static str,
    pub(crate) fix: &'static str,
    /// The line to change, by library.
    pub(crate) lines: Vec<Line>,
    pub(crate) evidence: Vec<Shot>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) library: Library,
    pub(crate) line: &'static str,
}

/// A token or a request, and the answer.
#[derive(Debug, Serialize)]
pub(crate) struct Shot {
    pub(crate) name: String,
    pub(crate) answer: String,
}

impl Report {
    pub(super) fn new(options: &Options, counts: Counts, took: Duration, findings: Findings, stopped: bool) -> Self {
        let Findings { found, not_checked, limited } = findings;
        let findings = found.into_iter().map(|((severity, kind), evidence)| Finding {
            severity,
            kind,
            title: kind.title(),
            why: kind.why(),
            fix: kind.fix(),
            lines: Library::ALL.iter().filter_map(|library| Some(Line { library: *library, line: library.line(kind)? })).collect(),
            evidence: evidence.into_iter().map(|shot| Shot { name: shot.name, answer: shot.answer }).collect(),
        });
        Self {
            url: options.shown_url(),
            method: options.method.to_string(),
            issuer: options.issuer.to_string(),
            audience: options.audience.clone(),
            counts,
            seconds: (took.as_secs_f64() * 100.0).round() / 100.0,
            findings: findings.collect(),
            not_checked,
            limited,
            stopped,
        }
    }

    /// Whether there is something to fix: a hole or a weakness, or, if `strict`, a note.
    pub(crate) fn fails(&self, strict: bool) -> bool {
        self.findings.iter().any(|finding| strict || finding.severity != Severity::Note)
    }

    /// Why the absence of a finding of this kind does not show that the API is right there. `None` if it does.
    pub(super) fn doubt(&self, kind: Kind) -> Option<String> {
        if self.stopped {
            Some("the API stopped answering before all was sent".to_owned())
        } else if self.limited > 0 {
            Some(format!("the API did not look at {} requests, because there were too many", self.limited))
        } else {
            self.not_checked.iter().find(|open| open.kind == Some(kind)).map(|open| open.why.clone())
        }
    }

    /// How many findings have this severity.
    pub(crate) fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// The findings for one library: the lines of the others are left out.
    pub(crate) fn keep_library(&mut self, library: Library) {
        for finding in &mut self.findings {
            finding.lines.retain(|line| line.library == library);
        }
    }

    /// What was sent.
    pub(crate) fn summary(&self) -> String {
        let Counts { good, without_scope, hostile, requests, sent } = &self.counts;
        format!(
            "{} {}: {sent} requests in {} s: {good} good tokens, {without_scope} without the scope, {hostile} hostile ones, {requests} other requests",
            self.method, self.url, self.seconds
        )
    }
}

impl Finding {
    /// The tokens and requests, up to `most` of them by name.
    pub(crate) fn shown(&self, most: usize) -> String {
        let shown: Vec<String> = self.evidence.iter().take(most).map(|shot| format!("{} ({})", shot.name, shot.answer)).collect();
        let more = self.evidence.len().saturating_sub(most);
        let more = if more > 0 { format!("; {more} more") } else { String::new() };
        format!("{}{more}", shown.join("; "))
    }
}
