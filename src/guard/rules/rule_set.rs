//! All rules, and which of them decides.

use http::{HeaderMap, Method};

use super::{
    Ambiguous, Decision, RuleFileError,
    ambiguous::Leniency,
    conflicts,
    lenient_paths::{Competing, LenientPaths},
    overrides,
    path_tree::PathTree,
    readings::readings,
    request_path::{lenient, segments},
    rule::Rule,
};

/// The rules of a file. At least one.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
    /// The places of the rules, by their paths as they are in the file.
    exact: PathTree<Vec<usize>>,
    lenient: LenientPaths,
}

/// Why a request is refused as ambiguous.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unclear<'r> {
    Request(Ambiguous),
    /// Some API may apply this rule, or have a handler that no rule is for.
    Reading(Leniency, Option<&'r Rule>),
}

impl Rules {
    /// Refuses rules that are never reached, and those between which it would be unclear which decides.
    pub(super) fn new(rules: Vec<Rule>) -> Result<Self, RuleFileError> {
        conflicts::refuse(&rules)?;
        let mut exact = PathTree::<Vec<usize>>::default();
        for (number, rule) in rules.iter().enumerate() {
            exact.entry(&rule.pattern.exact()).push(number);
        }
        Ok(Self { lenient: LenientPaths::new(&rules), rules, exact })
    }

    /// What a request needs. `path` is its path as it was sent, without the query; `query` is what follows the question mark.
    ///
    /// `headers` are those that the API will see. A header by which a gateway describes the request to the guard, such as `X-Original-URL`, is not
    /// one of them: remove it first, or the request is refused.
    pub(crate) fn decide<'a>(
        &'a self,
        method: &Method,
        path: &'a str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Decision<'a>, Ambiguous> {
        overrides::refuse(query, headers)?;
        Ok(self.decided(method, path)?.map_or(Decision::NoRule, |(_, decision)| decision))
    }

    /// The rule that decides, and what the request needs. First the most specific path, then the method: a path that has rules for some methods is
    /// denied for all others, even if a rule with a less specific path is for every method.
    pub(super) fn decided<'a>(&'a self, method: &Method, path: &'a str) -> Result<Option<(&'a Rule, Decision<'a>)>, Unclear<'a>> {
        let read = lenient(path)?;
        let Some(rule) = self.for_path(path).into_iter().find(|rule| rule.methods.include(method)) else { return Ok(None) };
        Readers { rules: self, method, path, sent: segments(&read), decided: rule }.check()?;
        let decision = rule.decision(path).ok_or(Ambiguous::OwnerSegment)?;
        Ok(Some((rule, decision)))
    }

    /// The rules for exactly this path, whatever their methods are.
    pub(super) fn for_path(&self, path: &str) -> Vec<&Rule> {
        let sent: Vec<&str> = path.split('/').skip(1).collect();
        let numbers = self.exact.matches(&sent).into_iter().next();
        numbers.into_iter().flatten().filter_map(|number| self.rules.get(*number)).collect()
    }

    /// The rule for the path that a lenient API may take this one for, which has no rule, and why it may.
    pub(super) fn nearest(&self, path: &str) -> Option<(Leniency, &Rule)> {
        let read = lenient(path).ok()?;
        let competing = self.lenient.nearest(&segments(&read))?;
        let (how, rule) = self.known(competing).next()?;
        Some((how.unwrap_or_else(|| rule.pattern.difference(path)), rule))
    }

    fn known(&self, competing: Competing<'_>) -> impl Iterator<Item = (Option<Leniency>, &Rule)> + Clone {
        competing.rules().filter_map(move |(how, number)| Some((how, self.rules.get(number)?)))
    }
}

/// The APIs that may read the path of a request in other ways.
#[derive(Debug)]
struct Readers<'q, 'r> {
    rules: &'r Rules,
    method: &'q Method,
    /// As it was sent.
    path: &'q str,
    /// Its segments, as lenient APIs compare them.
    sent: Vec<&'q str>,
    /// The rule that decides.
    decided: &'r Rule,
}

impl<'r> Readers<'_, 'r> {
    /// Refuses the request if one of them may apply a rule by which it needs something else.
    fn check(&self) -> Result<(), Unclear<'r>> {
        if let Some((how, rule)) = self.other_rule(&self.sent, false) {
            return Err(Unclear::Reading(how.unwrap_or_else(|| rule.pattern.difference(self.path)), Some(rule)));
        }
        for reading in readings(&self.sent, |place| self.decided.pattern.spells_out(place))? {
            if let Some((_, rule)) = self.other_rule(&reading.segments, reading.is_folder) {
                return Err(Unclear::Reading(reading.how, Some(rule)));
            }
            if reading.needs_rule && !self.rules.lenient.has_rule(&reading.segments) {
                return Err(Unclear::Reading(reading.how, None));
            }
        }
        Ok(())
    }

    /// A rule that an API may apply to this reading of the path, and by which the request needs something else, or is denied for its method.
    fn other_rule(&self, reading: &[&str], is_folder: bool) -> Option<(Option<Leniency>, &'r Rule)> {
        let competing = self.rules.lenient.competing(reading, is_folder, self.path.ends_with('/'), self.decided.pattern.shape());
        competing.into_iter().find_map(|competing| {
            let mut known = self.rules.known(competing);
            let mut of_method = known.clone().filter(|(_, rule)| rule.methods.include(self.method)).peekable();
            if of_method.peek().is_none() {
                return known.next();
            }
            of_method.find(|(_, rule)| !rule.needs_same(reading, self.decided, &self.sent))
        })
    }
}

impl From<Ambiguous> for Unclear<'_> {
    fn from(why: Ambiguous) -> Self {
        Self::Request(why)
    }
}

impl From<Unclear<'_>> for Ambiguous {
    fn from(why: Unclear<'_>) -> Self {
        match why {
            Unclear::Request(why) => why,
            Unclear::Reading(how, rule) => Self::OtherReading { how, line: rule.map(|rule| rule.line) },
        }
    }
}
