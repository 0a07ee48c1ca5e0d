//! Which rule decides a request, and why, for the author of the rules.

use std::fmt;

use http::{HeaderMap, Method};
use serde::Serialize;

use super::{
    Ambiguous, Rules, overrides,
    rule::{Needs, Rule},
};

/// Why a request is decided as it is.
#[derive(Debug, Serialize)]
pub(crate) struct Explanation {
    decision: Verdict,
    /// The line of the rule that decides, or that another reading of an ambiguous path leads to.
    line: Option<usize>,
    /// The path of that rule.
    path: Option<String>,
    /// What makes the request ambiguous.
    #[serde(skip_serializing_if = "Option::is_none")]
    ambiguous: Option<&'static str>,
    /// What a token needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    needs: Option<Requirements>,
    /// The same in words.
    reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Public,
    Token,
    Denied,
    Ambiguous,
}

#[derive(Debug, Serialize)]
struct Requirements {
    scope: String,
    caller: &'static str,
    /// The name of the segment that the subject must be.
    owner: Option<String>,
}

impl Rules {
    /// Explains how a request is decided that has no header to override its method or path. The arguments are those of [`Rules::decide`].
    pub(crate) fn explain(&self, method: &Method, path: &str, query: Option<&str>) -> Explanation {
        let found = overrides::refuse(query, &HeaderMap::new()).and_then(|()| {
            let rule = self.rule(method, path)?;
            // What is ambiguous for the rule alone, such as a segment that names the owner.
            rule.map(|rule| rule.decision(path).map(|_| rule)).transpose()
        });
        match found {
            Ok(Some(rule)) => Explanation::of(rule),
            Ok(None) => Explanation::denied(method, &self.for_other_methods(path)),
            Err(why) => Explanation::ambiguous(why, why.line().and_then(|line| self.at_line(line))),
        }
    }
}

impl Explanation {
    /// Whether a rule decides, so that the request reaches the API, if need be with a token.
    pub(crate) fn admits(&self) -> bool {
        matches!(self.decision, Verdict::Public | Verdict::Token)
    }

    fn of(rule: &Rule) -> Self {
        let decides = format!("Decided by {}.", described(rule));
        let (decision, needs, reason) = match &rule.needs {
            Needs::Nothing => (Verdict::Public, None, format!("{decides} It is public: no token is needed.")),
            Needs::Token { scope, caller, owner } => {
                let owner = owner.and_then(|place| rule.pattern.name_at(place));
                let reason = format!("{decides} It needs {}.", needed(&scope.to_string(), (*caller).into(), owner));
                let needs = Requirements { scope: scope.to_string(), caller: (*caller).into(), owner: owner.map(str::to_owned) };
                (Verdict::Token, Some(needs), reason)
            }
        };
        Self { decision, line: Some(rule.line), path: Some(rule.pattern.to_string()), ambiguous: None, needs, reason }
    }

    fn denied(method: &Method, others: &[&Rule]) -> Self {
        let reason = match others {
            [] => "Denied: no rule is for this path.".to_owned(),
            [first, ..] => {
                const SHOWN: usize = 10;
                let more = if others.len() > SHOWN { ", ..." } else { "" };
                let shown: Vec<_> = others.iter().take(SHOWN).map(|rule| format!("{} (line {})", rule.methods, rule.line)).collect();
                let case = if method.as_str().bytes().any(|byte| byte.is_ascii_lowercase()) { " Methods are case-sensitive." } else { "" };
                let path = first.pattern.to_string();
                format!("Denied: the rules for the path {path} are for {}{more}, and not for {method}.{case}", shown.join(", "))
            }
        };
        Self { decision: Verdict::Denied, line: None, path: None, ambiguous: None, needs: None, reason }
    }

    fn ambiguous(why: Ambiguous, rule: Option<&Rule>) -> Self {
        let led = rule.map(|rule| format!(" An API may take it for a request that {} decides.", described(rule))).unwrap_or_default();
        let advice = match why {
            Ambiguous::Case(_) | Ambiguous::Escape(_) => " Send the path as that rule has it.",
            Ambiguous::TrailingSlash(_) => {
                " Send the path as that rule has it, or, if the API serves both, add the same rule for the path as it was sent."
            }
            Ambiguous::NothingBelow(_) => " Add a rule for exactly this path.",
            Ambiguous::Suffix(_) | Ambiguous::BelowFile(_) => " If this path is meant, add a rule for exactly it.",
            _ => "",
        };
        let reason = format!("Refused with 400, because APIs read the request in different ways: {why}.{led}{advice}");
        let (line, path) = (rule.map(|rule| rule.line), rule.map(|rule| rule.pattern.to_string()));
        Self { decision: Verdict::Ambiguous, line, path, ambiguous: Some(why.code()), needs: None, reason }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

fn described(rule: &Rule) -> String {
    format!("the rule at line {} (path {}, {})", rule.line, rule.pattern, rule.methods)
}

fn needed(scope: &str, caller: &str, owner: Option<&str>) -> String {
    let of = match caller {
        "client" => " that a client got for itself",
        "user" => " of a user",
        _ => "",
    };
    let scopes = if scope.contains(' ') { "all of the scopes" } else { "the scope" };
    let with = if scope.is_empty() { String::new() } else { format!(" with {scopes} {scope}") };
    let whose = owner.map(|name| format!(", whose subject (sub) is the segment {{{name}}}")).unwrap_or_default();
    format!("a valid token{of}{with}{whose}")
}
