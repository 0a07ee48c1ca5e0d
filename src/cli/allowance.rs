//! `--allow RESOURCE=SCOPE,SCOPE`, for clients and users alike.

use std::collections::BTreeMap;

use crate::protocol::{Audience, Malformed, Scope};

/// What somebody may have at one resource.
#[derive(Debug, Clone)]
pub(super) struct Allowance {
    audience: Audience,
    scope: Scope,
}

/// Parses `RESOURCE=SCOPE,SCOPE`. A URI may hold an equals sign; the scopes of a resource do not.
pub(super) fn allowance(text: &str) -> Result<Allowance, String> {
    let (audience, scopes) = text.rsplit_once('=').ok_or("it has the form RESOURCE=SCOPE,SCOPE")?;
    let audience = audience.parse().map_err(|malformed: Malformed| malformed.to_string())?;
    let scope: Result<Scope, Malformed> = scopes.split(',').map(str::parse).collect();
    Ok(Allowance { audience, scope: scope.map_err(|malformed| malformed.to_string())? })
}

/// The same resource may be named twice: both count.
pub(super) fn by_resource(allowances: Vec<Allowance>) -> BTreeMap<Audience, Scope> {
    let mut all = BTreeMap::<Audience, Scope>::new();
    for Allowance { audience, scope } in allowances {
        let place = all.entry(audience).or_default();
        *place = place.iter().chain(scope.iter()).cloned().collect();
    }
    all
}

/// What is allowed, as it is printed.
pub(super) fn in_words<'a>(permissions: impl Iterator<Item = (&'a Audience, &'a Scope)>) -> BTreeMap<String, Vec<String>> {
    permissions.map(|(audience, scope)| (audience.to_string(), scope.iter().map(ToString::to_string).collect())).collect()
}
