//! `sealwright guard --check`: explains which rule decides a request.

use std::{ffi::OsStr, path::Path};

use clap::ValueEnum;
use http::Method;

use crate::{
    cli::{error::Error, output::Output},
    guard::{Explanation, RuleFile},
};

/// How a request is decided.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Expected {
    /// Without a token
    Public,
    /// Only with a token
    Token,
    /// Not at all: it is denied or ambiguous
    Denied,
}

impl Expected {
    fn is(self, explanation: &Explanation) -> bool {
        match self {
            Self::Public => explanation.is_public(),
            Self::Token => explanation.admits() && !explanation.is_public(),
            Self::Denied => !explanation.admits(),
        }
    }
}

/// Prints which rule of the file decides a request and what it needs. `target` is the path, with or without a query. Fails if the decision is not
/// the expected one, by default if the request is denied or ambiguous; and if the file is invalid.
pub(super) fn check(file: &Path, method: &OsStr, target: &OsStr, expected: Option<Expected>, output: Output) -> Result<(), Error> {
    let rules = RuleFile::read(file)?.rules;
    let method = method.to_str().and_then(|method| Method::from_bytes(method.as_bytes()).ok()).ok_or(Error::NotAMethod)?;
    // What is not UTF-8 is refused like other characters that are not encoded.
    let target = target.to_string_lossy();
    let (path, query) = target.split_once('?').map_or((&*target, None), |(path, query)| (path, Some(query)));
    let explanation = rules.explain(&method, path, query);
    output.print(&explanation, ToString::to_string)?;
    match expected {
        Some(expected) if expected.is(&explanation) => Ok(()),
        Some(_) => Err(Error::NotExpected),
        None if explanation.admits() => Ok(()),
        None => Err(Error::NotAdmitted),
    }
}
