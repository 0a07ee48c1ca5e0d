//! `sealwright guard`: the verifier as a process in front of an API.

mod rules;

pub(crate) use rules::{Ambiguous, Decision, Needed, RuleFile, RuleFileError, Rules, TrustedIssuer};
