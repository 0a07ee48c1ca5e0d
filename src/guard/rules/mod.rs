//! The rules of a guard: what a request to a path needs.
//!
//! A rule file is TOML: `[[issuer]]` says whose tokens are accepted, `[[rule]]` what a request needs. The rule with the most specific path
//! decides. A request that no rule decides is denied.
//!
//! The guard and the API behind it each read the path. Where two readings could lead to different decisions, the request is refused instead of
//! normalised: [`Ambiguous`]. There is one principle for this. The rule that decides is one that matches the path exactly as it was sent. All
//! paths that some API may take it for are then looked up as well: decoded, without case and without a trailing slash
//! ([`lenient`](request_path::lenient)), without suffixes and scripts ([`readings`]), among the paths of all rules and what else an API may take
//! those for ([`lenient_paths`]). Whatever is found there needs the same of the request, unless it is broader than the rule that decides.
//!
//! For most paths, that is one look-up in each of two trees; for those with dots, at most as many as [`readings`] says.
//!
//! Nothing here does I/O, except that [`RuleFile::read`] reads its file.

mod ambiguous;
mod conflicts;
mod decision;
mod error;
mod explanation;
mod file;
mod issuer;
mod lenient_paths;
mod methods;
mod overrides;
mod path_tree;
mod pattern;
mod readings;
mod request_path;
mod rule;
mod rule_set;
mod shape;
mod table;
#[cfg(test)]
mod tests;
mod unicode;

pub(crate) use ambiguous::Ambiguous;
pub(crate) use decision::{Decision, Needed};
pub(crate) use error::RuleFileError;
pub(crate) use explanation::Explanation;
pub(crate) use file::RuleFile;
pub(crate) use issuer::TrustedIssuer;
pub(crate) use overrides::is_override;
pub(crate) use rule_set::Rules;
