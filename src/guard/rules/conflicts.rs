//! Rules that a file cannot have together.

use std::collections::BTreeMap;

use super::{
    RuleFileError,
    rule::Rule,
    shape::{Part, Shown, contains, intersection},
};

/// The rules by their paths, without what lenient APIs ignore.
type Shapes<'r> = BTreeMap<&'r [Part], Vec<&'r Rule>>;

/// Refuses rules that are never reached, and those between which it would be unclear which decides.
pub(super) fn refuse(rules: &[Rule]) -> Result<(), RuleFileError> {
    let mut shapes: Shapes<'_> = BTreeMap::new();
    for rule in rules {
        let others = shapes.entry(rule.pattern.shape()).or_default();
        others.iter().try_for_each(|other| refuse_same(rule, other))?;
        others.push(rule);
    }
    refuse_crossing(&shapes)
}

/// Two rules whose paths a lenient API does not distinguish have no method in common, or need the same and have different paths.
fn refuse_same(rule: &Rule, other: &Rule) -> Result<(), RuleFileError> {
    let Some(method) = rule.methods.shared_with(&other.methods) else { return Ok(()) };
    let line = other.line;
    if rule.pattern.exact() == other.pattern.exact() {
        let what = if other.methods.include_all_of(&rule.methods) { "this rule".to_owned() } else { format!("{method} of this rule") };
        let note = if method == "HEAD" { " (GET includes HEAD)" } else { "" };
        let reason = format!(
            "{what} is never reached: the rule at line {line} has the same path, {}, and is for {}{note}",
            other.pattern, other.methods
        );
        return Err(RuleFileError::at(rule.line, reason));
    }
    if rule.needs != other.needs {
        let reason = format!(
            "the path {} differs from that of the rule at line {line}, {}, only in case or a trailing slash, which many APIs ignore, and {method} needs something else there: let both need the same, or remove one",
            rule.pattern, other.pattern
        );
        return Err(RuleFileError::at(rule.line, reason));
    }
    Ok(())
}

/// Two patterns match the same path, and neither contains the other: APIs differ in which handler they choose, by the order of the handlers or by the
/// first text. So they need the same, or a rule for what both match decides.
fn refuse_crossing(shapes: &Shapes<'_>) -> Result<(), RuleFileError> {
    let varying = shapes.iter().filter(|(shape, _)| shape.iter().any(|part| !matches!(part, Part::Text(_))));
    let varying: Vec<_> = varying.collect();
    for (count, (one, rules)) in varying.iter().enumerate() {
        for (other, others) in varying.iter().take(count) {
            let Some(both) = intersection(one, other) else { continue };
            if contains(one, other) || contains(other, one) || shapes.contains_key(both.as_slice()) {
                continue;
            }
            let pairs = rules.iter().flat_map(|rule| others.iter().map(move |other| (*rule, *other)));
            for (rule, other) in pairs.filter(|(rule, other)| rule.needs != other.needs) {
                if let Some(method) = rule.methods.shared_with(&other.methods) {
                    return Err(crossing(rule, other, &both, &method));
                }
            }
        }
    }
    Ok(())
}

fn crossing(one: &Rule, other: &Rule, both: &[Part], method: &str) -> RuleFileError {
    let (first, second) = if one.line <= other.line { (one, other) } else { (other, one) };
    RuleFileError::at(
        second.line,
        format!(
            "the path {} and that of the rule at line {}, {}, both match {both}, neither is more specific in every segment, and {method} needs something else: add a rule for {both}, or let both need the same",
            second.pattern,
            first.line,
            first.pattern,
            both = Shown(both),
        ),
    )
}
