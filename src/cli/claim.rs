//! `NAME=VALUE`, an option of clients, resources and users.

use crate::{
    protocol::Malformed,
    server::model::{ClaimName, ClaimValue, CustomClaims},
};

/// A claim or an attribute.
pub(super) type Claim = (ClaimName, ClaimValue);

/// Parses `NAME=VALUE`. The value is JSON; another text counts as a JSON string.
pub(super) fn claim(text: &str) -> Result<Claim, String> {
    let (name, value) = text.split_once('=').ok_or("the form is NAME=VALUE")?;
    let refused = |malformed: Malformed| malformed.to_string();
    Ok((name.parse().map_err(refused)?, ClaimValue::of_operator(value).map_err(refused)?))
}

/// Claims as a person reads them: one line each.
pub(super) fn lines(claims: &CustomClaims) -> String {
    claims.iter().map(|(name, value)| format!("{name}: {}", value.as_json())).collect::<Vec<_>>().join("\n")
}
