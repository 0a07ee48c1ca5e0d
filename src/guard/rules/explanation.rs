//! Which rule decides a request, and why, for the author of the rules.

use std::fmt;

use http::{HeaderMap, Method};
use serde::Serialize;

use super::{
    Ambiguous, Rules,
    ambiguous::Leniency,
    overrides,
    pattern::Pattern,
    rule::{Needs, Rule},
    rule_set::Unclear,
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
        let found = overrides::refuse(query, &HeaderMap::new()).map_err(Unclear::from).and_then(|()| self.decided(method, path));
        match found {
            Ok(Some((rule, _))) => Explanation::of(rule),
            Ok(None) => match &self.for_path(path)[..] {
                [] => Explanation::without_rule(self.nearest(path)),
                rules @ [first, ..] => Explanation::without_method(method, &first.pattern, rules),
            },
            Err(why) => Explanation::ambiguous(why),
        }
    }
}

impl Explanation {
    /// Whether a rule decides, so that the request reaches the API, if need be with a token.
    pub(crate) fn admits(&self) -> bool {
        matches!(self.decision, Verdict::Public | Verdict::Token)
    }

    /// Whether the request needs no token.
    pub(crate) fn is_public(&self) -> bool {
        self.decision == Verdict::Public
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

    fn without_rule(nearest: Option<(Leniency, &Rule)>) -> Self {
        let nearest = nearest.map(|(how, rule)| format!(" It is not that of {}, although {how}.", described(rule))).unwrap_or_default();
        Self::denied(format!("Denied: there is no rule for this path.{nearest}"))
    }

    fn without_method(method: &Method, path: &Pattern, rules: &[&Rule]) -> Self {
        const SHOWN: usize = 10;
        let more = if rules.len() > SHOWN { ", ..." } else { "" };
        let shown: Vec<_> = rules.iter().take(SHOWN).map(|rule| format!("{} (line {})", rule.methods, rule.line)).collect();
        let case = if method.as_str().bytes().any(|byte| byte.is_ascii_lowercase()) { " Methods are case-sensitive." } else { "" };
        Self::denied(format!("Denied: the rules for the path {path} are for {}{more}, and not for {method}.{case}", shown.join(", ")))
    }

    const fn denied(reason: String) -> Self {
        Self { decision: Verdict::Denied, line: None, path: None, ambiguous: None, needs: None, reason }
    }

    fn ambiguous(why: Unclear<'_>) -> Self {
        const DIFFERENT: &str = "Refused with 400, because APIs read this path in different ways";
        let reason = match why {
            Unclear::Request(why) => format!("Refused with 400: {}.", why.cause()),
            Unclear::Reading(how, Some(rule)) => {
                let advice = advice(how);
                format!(
                    "{DIFFERENT}: {how}, which leads to {}. There, the request needs something else or is denied. {advice}",
                    described(rule)
                )
            }
            Unclear::Reading(how, None) => format!("{DIFFERENT}: {how}, which leads to a path without a rule. {}", advice(how)),
        };
        let rule = match why {
            Unclear::Reading(_, rule) => rule,
            Unclear::Request(_) => None,
        };
        let (line, path) = (rule.map(|rule| rule.line), rule.map(|rule| rule.pattern.to_string()));
        Self { decision: Verdict::Ambiguous, line, path, ambiguous: Some(Ambiguous::from(why).code()), needs: None, reason }
    }
}

/// What to do about a path that is ambiguous.
const fn advice(how: Leniency) -> &'static str {
    match how {
        Leniency::Case | Leniency::Escape => "Send the path as that rule has it.",
        Leniency::TrailingSlash => {
            "Send the path as that rule has it, or, if the API serves both, add a rule that needs the same for the path as it was sent."
        }
        _ => "If this path is meant, add a rule that spells it out.",
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
