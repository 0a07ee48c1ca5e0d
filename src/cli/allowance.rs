//! `--allow RESOURCE=SCOPE,SCOPE`, an option of clients and of users.

use std::collections::BTreeMap;

use crate::protocol::{Audience, Malformed, Scope};

/// The scope that a client or a user may have at one resource.
#[derive(Debug, Clone)]
pub(super) struct Allowance {
    audience: Audience,
    scope: Scope,
}

/// Parses `RESOURCE=SCOPE,SCOPE`. An audience may contain an equals sign and scope tokens may not, so the last one separates the two.
pub(super) fn allowance(text: &str) -> Result<Allowance, String> {
    let (audience, scopes) = text.rsplit_once('=').ok_or("the form is RESOURCE=SCOPE,SCOPE")?;
    let audience = audience.parse().map_err(|malformed: Malformed| malformed.to_string())?;
    let scope: Result<Scope, Malformed> = scopes.split(',').map(str::parse).collect();
    Ok(Allowance { audience, scope: scope.map_err(|malformed| malformed.to_string())? })
}

/// Groups allowances by resource. A resource that is named twice gets the scopes of both.
pub(super) fn by_resource(allowances: Vec<Allowance>) -> BTreeMap<Audience, Scope> {
    let mut all = BTreeMap::<Audience, Scope>::new();
    for Allowance { audience, scope } in allowances {
        let merged = all.entry(audience).or_default();
        *merged = merged.iter().chain(scope.iter()).cloned().collect();
    }
    all
}

/// Permissions as a person reads them: one line per resource.
pub(super) fn lines(allow: &BTreeMap<String, Vec<String>>) -> String {
    allow.iter().map(|(resource, scopes)| format!("{resource}: {}", scopes.join(" "))).collect::<Vec<_>>().join("\n")
}
