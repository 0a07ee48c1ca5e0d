//! The patterns of all rules, in the form in which a lenient API compares them.

use std::collections::{BTreeMap, btree_map::Entry};

use matchit::Router;

use super::{Ambiguous, RuleFileError, pattern::Segment, rule::Rule};

/// Finds the most specific pattern for a path. From the first segment on, a text is more specific than a name, and a name than a rest.
#[derive(Debug, Clone)]
pub(super) struct PathTree {
    router: Router<usize>,
    leaves: Vec<Leaf>,
    /// The length of the longest text with which a pattern ends.
    longest_end: usize,
}

/// Makes the reason of a refusal from the line of a rule.
pub(super) type Reason = fn(usize) -> Ambiguous;

/// The patterns that a lenient API does not distinguish.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    /// The pattern in the syntax of the router.
    shape: String,
    /// The places of their rules, in the order of the file.
    pub(super) rules: Vec<usize>,
    /// Whether the last segment is a text.
    ends_in_text: bool,
}

impl PathTree {
    /// Refuses patterns that no request could be decided by, and those between which it would be unclear which decides.
    pub(super) fn new(rules: &[Rule]) -> Result<Self, RuleFileError> {
        let mut leaves: BTreeMap<String, Leaf> = BTreeMap::new();
        let mut kinds = BTreeMap::new();
        for (number, rule) in rules.iter().enumerate() {
            refuse_conflict(&mut kinds, rule)?;
            let shape = shape(rule.pattern.segments());
            match leaves.entry(shape) {
                Entry::Vacant(place) => {
                    let leaf = Leaf { shape: place.key().clone(), rules: vec![number], ends_in_text: rule.pattern.ends_in_text() };
                    place.insert(leaf);
                }
                Entry::Occupied(mut leaf) => {
                    leaf.get().rules.iter().try_for_each(|other| refuse_overlap(rule, &rules[*other]))?;
                    leaf.get_mut().rules.push(number);
                }
            }
        }
        add_beginnings(&mut leaves, rules);
        let mut tree = Self { router: Router::new(), leaves: Vec::with_capacity(leaves.len()), longest_end: 0 };
        for (shape, leaf) in leaves {
            if leaf.ends_in_text {
                tree.longest_end = tree.longest_end.max(shape.rsplit('/').next().map_or(0, str::len));
            }
            // Conflicts have been found before.
            let line = leaf.rules.first().map_or(1, |number| rules[*number].line);
            tree.router.insert(shape, tree.leaves.len()).map_err(|error| RuleFileError::at(line, error.to_string()))?;
            tree.leaves.push(leaf);
        }
        Ok(tree)
    }

    /// The most specific pattern for a path that was read leniently.
    pub(super) fn find(&self, path: &str) -> Option<&Leaf> {
        self.router.at(path).ok().and_then(|found| self.leaves.get(*found.value))
    }

    /// Where APIs lead a path that take only a part of it. `found` is the leaf of the path as a whole.
    ///
    /// Some ignore the suffix of the last segment (`/orders.json`). Some run a file for all paths below it (`/admin.php/users`). Where the
    /// pattern spells that segment out, this is what its author means.
    pub(super) fn parts<'a>(&'a self, path: &'a str, found: &'a Leaf) -> impl Iterator<Item = (Reason, &'a Leaf)> {
        let last = path.rfind('/').map_or(0, |slash| slash + 1);
        let dots = path[last..].match_indices('.').map(|(dot, _)| dot);
        let suffixes = dots.take_while(move |dot| !found.ends_in_text && *dot <= self.longest_end).filter(|dot| *dot > 0);
        let without_suffix = suffixes.filter_map(move |dot| Some((Ambiguous::Suffix as Reason, self.find(&path[..last + dot])?)));

        let slashes = path.match_indices('/').map(|(slash, _)| slash);
        let files = slashes.filter(move |slash| path[..*slash].rsplit('/').next().is_some_and(|segment| segment.contains('.')));
        let above = files.filter_map(move |slash| Some((Ambiguous::BelowFile as Reason, self.find(&path[..slash])?)));
        let above = above.filter(move |(_, leaf)| !found.is_below(leaf));

        without_suffix.chain(above).filter(|(_, leaf)| leaf.ends_in_text)
    }
}

impl Leaf {
    fn is_below(&self, other: &Self) -> bool {
        self.shape.strip_prefix(&other.shape).is_some_and(|rest| rest.starts_with('/'))
    }
}

fn shape(segments: &[Segment]) -> String {
    let shape: String = segments.iter().map(|segment| format!("/{}", segment.shape())).collect();
    if shape.is_empty() { "/".to_owned() } else { shape }
}

/// For some APIs, a pattern for everything below a path includes the path: `/admin/**` of Spring is for `/admin` as well. Such a path leads to
/// the rules of that pattern, none of which admits it, unless it has rules of its own.
fn add_beginnings(leaves: &mut BTreeMap<String, Leaf>, rules: &[Rule]) {
    let begins = |leaf: &Leaf| {
        let pattern = &rules.get(*leaf.rules.first()?)?.pattern;
        let (_, before) = pattern.segments().split_last().filter(|_| pattern.ends_in_rest())?;
        let ends_in_text = before.last().is_none_or(|last| matches!(last, Segment::Text(_)));
        Some(Leaf { shape: shape(before), rules: leaf.rules.clone(), ends_in_text })
    };
    let beginnings: Vec<Leaf> = leaves.values().filter_map(begins).collect();
    for leaf in beginnings {
        leaves.entry(leaf.shape.clone()).or_insert(leaf);
    }
}

/// Whether a wildcard is a rest, and the line of the first rule that has it, by what precedes it.
type Kinds = BTreeMap<String, (bool, usize)>;

/// At one place, a path goes on with a name or with a rest: with both, it would depend on what follows which of them is more specific.
fn refuse_conflict(kinds: &mut Kinds, rule: &Rule) -> Result<(), RuleFileError> {
    let mut before = String::new();
    for segment in rule.pattern.segments() {
        if !matches!(segment, Segment::Text(_)) {
            let is_rest = matches!(segment, Segment::Rest(_));
            let (other_is_rest, line) = *kinds.entry(before.clone()).or_insert((is_rest, rule.line));
            if is_rest != other_is_rest {
                let place = if before.is_empty() { "/" } else { before.as_str() };
                return Err(RuleFileError::at(
                    rule.line,
                    format!(
                        "the path {} conflicts with that of the rule at line {line}: after {place}, one has {{name}} and the other {{*rest}}. Use the same in both",
                        rule.pattern
                    ),
                ));
            }
        }
        before.push('/');
        before.push_str(&segment.shape());
    }
    Ok(())
}

/// Two rules whose patterns a lenient API does not distinguish have no method in common, or need the same and have different paths.
fn refuse_overlap(rule: &Rule, other: &Rule) -> Result<(), RuleFileError> {
    let Some(method) = rule.methods.shared_with(&other.methods) else { return Ok(()) };
    let line = other.line;
    if rule.pattern.is_same(&other.pattern) {
        let reason = format!("this rule is never reached: the rule at line {line} has the same path, {}, and {method} too", other.pattern);
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
