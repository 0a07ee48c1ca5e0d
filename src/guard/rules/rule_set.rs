//! All rules, and which of them decides.

use http::{HeaderMap, Method};

use super::{
    Ambiguous, Decision, RuleFileError, overrides,
    path_tree::{Leaf, PathTree},
    request_path::lenient,
    rule::Rule,
};

/// The rules of a file. At least one.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
    tree: PathTree,
}

impl Rules {
    pub(super) fn new(rules: Vec<Rule>) -> Result<Self, RuleFileError> {
        let tree = PathTree::new(&rules)?;
        Ok(Self { rules, tree })
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
        match self.rule(method, path)? {
            Some(rule) => rule.decision(path),
            None => Ok(Decision::NoRule),
        }
    }

    /// The rule that decides. First the most specific path, then the method: a path that has rules for some methods is denied for all others,
    /// even if a rule with a less specific path is for every method.
    pub(super) fn rule(&self, method: &Method, path: &str) -> Result<Option<&Rule>, Ambiguous> {
        let read = lenient(path)?;
        let Some(leaf) = self.tree.find(&read) else { return Ok(None) };
        let Some(first) = self.rules_of(leaf).find(|rule| rule.methods.include(method)) else { return Ok(None) };
        let admitting = |rule: &&Rule| rule.methods.include(method) && rule.pattern.admits(path);
        let Some(rule) = self.rules_of(leaf).find(admitting) else {
            return Err(first.pattern.difference(path, first.line));
        };
        match self.tree.parts(&read, leaf).next() {
            Some((reason, other)) => Err(reason(self.rules_of(other).next().map_or(rule.line, |other| other.line))),
            None => Ok(Some(rule)),
        }
    }

    /// The rules for the path of a request that [`rule`](Self::rule) finds no rule for.
    pub(super) fn for_other_methods(&self, path: &str) -> Vec<&Rule> {
        let leaf = lenient(path).ok().and_then(|read| self.tree.find(&read));
        leaf.map(|leaf| self.rules_of(leaf).collect()).unwrap_or_default()
    }

    /// The rule at a line that an [`Ambiguous`] names.
    pub(super) fn at_line(&self, line: usize) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.line == line)
    }

    fn rules_of<'a>(&'a self, leaf: &'a Leaf) -> impl Iterator<Item = &'a Rule> {
        leaf.rules.iter().filter_map(move |number| self.rules.get(*number))
    }
}
