//! One rule.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::{
    Decision, Needed, RuleFileError,
    decision::Caller,
    methods::Methods,
    pattern::{Pattern, Segment},
    table::{At, Table, nearest},
    unicode,
};
use crate::protocol::Scope;

const KEYS: [&str; 6] = ["caller", "methods", "owner", "path", "public", "scope"];
const CALLERS: [&str; 2] = ["client", "user"];

/// A rule of the file.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    /// The line of its `[[rule]]`.
    pub(super) line: usize,
    pub(super) methods: Methods,
    pub(super) pattern: Pattern,
    pub(super) needs: Needs,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    Token {
        scope: Scope,
        caller: Caller,
        /// The place, among the segments of the path, of the one that is the subject. The caller is then a user.
        owner: Option<usize>,
    },
}

impl Rule {
    pub(super) fn read(table: Table<'_>) -> Result<Self, RuleFileError> {
        table.require_known("a rule", &KEYS)?;
        let path = table.text("path")?.ok_or_else(|| RuleFileError::at(table.line, "this rule has no path"))?;
        let refused = |why: String| RuleFileError::at(path.line, format!("the path {:?} {why}", path.value));
        let pattern = path.value.parse::<Pattern>().map_err(refused)?;
        let methods = match table.texts("methods")? {
            Some(names) => Methods::parse(&names).map_err(|why| RuleFileError::at(why.line, why.value))?,
            None => Methods::Every,
        };
        Ok(Self { line: table.line, methods, needs: needs(table, &pattern)?, pattern })
    }

    pub(super) const fn needs_token(&self) -> bool {
        matches!(self.needs, Needs::Token { .. })
    }

    pub(super) const fn has_owner(&self) -> bool {
        matches!(self.needs, Needs::Token { owner: Some(_), .. })
    }

    /// What a request to `path`, which the pattern matches, needs. `None` if some APIs may read another owner from it.
    pub(super) fn decision<'a>(&'a self, path: &'a str) -> Option<Decision<'a>> {
        match &self.needs {
            Needs::Nothing => Some(Decision::Public),
            Needs::Token { scope, caller, owner } => {
                let owner = match owner {
                    Some(place) => Some(subject_at(path, *place)?),
                    None => None,
                };
                Some(Decision::Needs(Needed { scope, caller: *caller, owner }))
            }
        }
    }

    /// Whether a request that an API reads as these segments needs the same by this rule as by another one, which reads it as others.
    pub(super) fn needs_same(&self, segments: &[&str], other: &Self, others: &[&str]) -> bool {
        match (&self.needs, &other.needs) {
            (Needs::Nothing, Needs::Nothing) => true,
            (Needs::Token { scope, caller, owner }, Needs::Token { scope: other_scope, caller: other_caller, owner: other_owner }) => {
                let is_same_owner = owner.map(|place| segments.get(place)) == other_owner.map(|place| others.get(place));
                scope == other_scope && caller == other_caller && is_same_owner
            }
            _ => false,
        }
    }
}

/// The segment that names the owner, decoded. `None` if some APIs would read another subject: a `+` as a space, or what normalisation changes or
/// drops. What they make of the case of letters, they must not: the guide says so.
fn subject_at(path: &str, place: usize) -> Option<Cow<'_, str>> {
    let segment = path.split('/').nth(place + 1)?;
    let subject = percent_decode_str(segment).decode_utf8().ok()?;
    Some(subject).filter(|subject| !segment.contains('+') && unicode::is_normal(subject))
}

fn needs(table: Table<'_>, pattern: &Pattern) -> Result<Needs, RuleFileError> {
    let (scope, caller, owner) = (table.text("scope")?, table.text("caller")?, table.text("owner")?);
    if table.boolean("public")?.is_some_and(|public| public.value) {
        let named = [("scope", scope), ("caller", caller), ("owner", owner)];
        return match named.into_iter().find_map(|(key, given)| Some((key, given?.line))) {
            Some((key, line)) => {
                Err(RuleFileError::at(line, format!("a public rule takes no token, so it has no {key}: remove one of the two")))
            }
            None => Ok(Needs::Nothing),
        };
    }
    let caller = caller.map(caller_of).transpose()?;
    let owner = owner.map(|name| owner_of(name, caller, pattern)).transpose()?;
    let scope = scope.map(scope_of).transpose()?.unwrap_or_default();
    // The subject of a client's own token is its client id, which is not the id of a user, even if it is the same text (RFC 9700 section 4.15).
    let caller = if owner.is_some() { Caller::User } else { caller.unwrap_or(Caller::Any) };
    Ok(Needs::Token { scope, caller, owner })
}

fn scope_of(text: At<&str>) -> Result<Scope, RuleFileError> {
    let refuse = |why: String| RuleFileError::at(text.line, format!("no token can have the scope {:?}: {why}", text.value));
    if text.value.is_empty() {
        return Err(refuse("leave scope out if a valid token is enough".to_owned()));
    }
    let scope = text.value.parse::<Scope>().map_err(|why| refuse(format!("{why}, and one space is between two of them")))?;
    if scope.iter().count() != text.value.split(' ').count() {
        return Err(RuleFileError::at(text.line, format!("the scope {:?} has a scope token twice", text.value)));
    }
    Ok(scope)
}

fn caller_of(text: At<&str>) -> Result<Caller, RuleFileError> {
    match text.value {
        "client" => Ok(Caller::Client),
        "user" => Ok(Caller::User),
        other => {
            let advice = match nearest(other, &CALLERS) {
                Some(nearest) => format!("did you mean {nearest}?"),
                None => "leave it out for both".to_owned(),
            };
            Err(RuleFileError::at(text.line, format!("caller must be \"user\" or \"client\", not {other:?}; {advice}")))
        }
    }
}

/// The place of the segment that is called `name`.
fn owner_of(name: At<&str>, caller: Option<Caller>, pattern: &Pattern) -> Result<usize, RuleFileError> {
    let refuse = |why: String| RuleFileError::at(name.line, why);
    if caller == Some(Caller::Client) {
        return Err(refuse("only a user can be the owner: remove owner, or make it caller = \"user\"".to_owned()));
    }
    let is_it = |segment: &Segment| matches!(segment, Segment::Name(known) | Segment::Rest(known) if known == name.value);
    match pattern.segments().iter().position(is_it) {
        Some(place) if pattern.name_at(place).is_some() => Ok(place),
        Some(_) => Err(refuse(format!("the owner must be one segment, and {{*{}}} is several", name.value))),
        None => Err(refuse(format!("the path {pattern} has no segment {{{}}}, so it cannot name the owner", name.value))),
    }
}
