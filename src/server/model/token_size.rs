use super::{ClaimName, CustomClaims, Resource};
use crate::protocol::ClientId;

/// The maximum length of a token: what proxies and servers accept as one header, with its other parts.
const MAX_TOKEN: usize = 8 * 1024;
/// The encoded header: algorithm, type and key id.
const HEADER: usize = 200;
/// The encoded signature of an RSA key of 4096 bits.
const SIGNATURE: usize = 683;
/// The registered claims without the scope: at most 1,130 characters. The rest is for a confirmation.
const REGISTERED: usize = 1280;
/// The claim with a name of 128 characters of 4 bytes.
const PREFERRED_USERNAME: usize = 540;
/// What scope and custom claims may take. Base64url encodes 3 bytes as 4 characters.
const AVAILABLE: usize = (MAX_TOKEN - 2 - HEADER - SIGNATURE) / 4 * 3 - REGISTERED;

/// Refuses a resource whose tokens could be too long, or have a claim from two sources. `clients` are those that get its tokens.
pub(crate) fn require_fitting<'a>(
    resource: &Resource,
    clients: impl IntoIterator<Item = (&'a ClientId, &'a CustomClaims)>,
) -> Result<(), String> {
    let audience = &resource.audience;
    if let Some(name) = resource.claims.iter().find(|name| resource.fixed_claims.contains(name)) {
        return Err(format!("the resource {audience} has a fixed claim {name} and asks for the users' {name}: one of both must go"));
    }
    require_short(resource, None)?;
    for (id, claims) in clients {
        let taken = |name: &&ClaimName| resource.fixed_claims.contains(name) || resource.claims.contains(*name);
        if let Some(name) = claims.names().find(taken) {
            return Err(format!("the client {id} and the resource {audience} both determine the claim {name}: one of both must go"));
        }
        require_short(resource, Some((id, claims)))?;
    }
    Ok(())
}

fn require_short(resource: &Resource, client: Option<(&ClientId, &CustomClaims)>) -> Result<(), String> {
    let len = |claims: &CustomClaims| if claims.is_empty() { 0 } else { claims.json_len() };
    let scope = resource.scope.to_string().len();
    let fixed = len(&resource.fixed_claims);
    let (names, others): (Vec<_>, Vec<_>) = resource.claims.iter().partition(|name| name.is_preferred_username());
    let asked = names.len() * PREFERRED_USERNAME + if others.is_empty() { 0 } else { CustomClaims::MAX_LEN };
    let of_client = client.map_or(0, |(_, claims)| len(claims));
    let total = scope + fixed + asked + of_client;
    if total <= AVAILABLE {
        return Ok(());
    }
    let client = client.map(|(id, _)| format!(", and the fixed claims of the client {id} {of_client}")).unwrap_or_default();
    Err(format!(
        "tokens for {} could be longer than {MAX_TOKEN} characters: its scopes take up to {scope}, its fixed claims {fixed}, the users' claims that it asks for \
         up to {asked}{client}; together they may take {AVAILABLE}",
        resource.audience
    ))
}
