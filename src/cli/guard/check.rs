//! `sealwright guard --check`: explains which rule decides a request.

use std::path::Path;

use http::Method;

use crate::{
    cli::{error::Error, output::Output},
    guard::RuleFile,
};

/// Prints which rule of the file decides a request and what it needs. `target` is the path, with or without a query. Fails if the request is
/// denied or ambiguous, and if the file is invalid.
pub(super) fn check(file: &Path, method: &str, target: &str, output: Output) -> Result<(), Error> {
    let rules = RuleFile::read(file)?.rules;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Error::NotAMethod)?;
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let explanation = rules.explain(&method, path, query);
    output.print(&explanation, ToString::to_string)?;
    if explanation.admits() { Ok(()) } else { Err(Error::NotAdmitted) }
}
