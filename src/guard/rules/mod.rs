//! The rules of a guard: what a request to a path needs.
//!
//! A rule file is TOML: `[[issuer]]` says whose tokens are accepted, `[[rule]]` what a request needs. The rule with the most specific path
//! decides. A request that no rule decides is denied.
//!
//! The guard and the API behind it each read the path. Where two readings could lead to different rules, the request is refused instead of
//! normalised: [`Ambiguous`]. To find these, a path is read twice. [`lenient`](request_path::lenient) reads it as the most lenient API does:
//! decoded, without case, without a trailing slash. The rule that is found that way decides only if the path is also
//! [exactly](pattern::Pattern::admits) as its pattern has it.
//!
//! Nothing here does I/O, except that [`RuleFile::read`] reads its file.

mod ambiguous;
mod decision;
mod error;
mod explanation;
mod file;
mod issuer;
mod methods;
mod overrides;
mod path_tree;
mod pattern;
mod request_path;
mod rule;
mod rule_set;
mod table;
#[cfg(test)]
mod tests;
mod unicode;

pub(crate) use ambiguous::Ambiguous;
pub(crate) use decision::{Decision, Needed};
pub(crate) use error::RuleFileError;
pub(crate) use file::RuleFile;
pub(crate) use issuer::TrustedIssuer;
pub(crate) use rule_set::Rules;
