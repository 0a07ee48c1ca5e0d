//! Which resource a token is for, and which scope it carries there. One token, one audience.

use super::{Error, Refusal};
use crate::{
    protocol::{Audience, ErrorCode, Malformed, Scope},
    server::model::{Client, Permission},
};

/// What a request says of the token that it wants. Texts that do not parse are refused when their turn comes.
#[derive(Debug, Default)]
pub(crate) struct TargetRequest {
    /// RFC 8707 section 2.
    pub(crate) resource: Option<Result<Audience, Malformed>>,
    /// RFC 6749 section 3.3.
    pub(crate) scope: Option<Result<Scope, Malformed>>,
}

/// The resource that was found, and what the client may have there.
#[derive(Debug)]
pub(super) struct Target<'a> {
    pub(super) audience: &'a Audience,
    pub(super) permission: &'a Permission,
    /// What was asked for, or all that the client may have.
    pub(super) scope: Scope,
}

impl TargetRequest {
    /// Finds the one resource that is meant.
    ///
    /// `resource` names it; without it, the scopes must all belong to one resource; without both, the client must have
    /// exactly one.
    pub(super) fn resolve<'a>(&self, client: &'a Client) -> Result<Target<'a>, Error> {
        let scope = match &self.scope {
            Some(Ok(scope)) => Some(scope),
            Some(Err(_)) => {
                return Err(refuse_scope("The scope is malformed: scope tokens of printable ASCII with one space between two of them."));
            }
            None => None,
        };
        let (audience, permission) = match (&self.resource, scope) {
            (Some(Err(_)), _) => return Err(refuse_target("The resource is malformed: it is an absolute URI without a fragment.")),
            (Some(Ok(audience)), _) => {
                client.permissions.get_key_value(audience).ok_or_else(|| refuse_target("This client is not allowed at this resource."))?
            }
            (None, Some(scope)) => resource_of(client, scope)?,
            (None, None) => only_resource(client)?,
        };
        let scope = match scope {
            Some(scope) if *scope <= permission.scope => scope.clone(),
            Some(_) => return Err(refuse_scope("The scope holds more than this client is allowed at this resource.")),
            None => permission.scope.clone(),
        };
        Ok(Target { audience, permission, scope })
    }
}

fn resource_of<'a>(client: &'a Client, scope: &Scope) -> Result<(&'a Audience, &'a Permission), Error> {
    let allowed = |token| client.permissions.values().any(|permission| permission.scope.contains(token));
    if !scope.iter().all(allowed) {
        return Err(refuse_scope("The scope holds more than this client is allowed."));
    }
    let all_at_one = client.permissions.iter().find(|(_, permission)| *scope <= permission.scope);
    all_at_one.ok_or_else(|| refuse_scope("The scope belongs to several resources; a token is for one. Ask for a token for each."))
}

fn only_resource(client: &Client) -> Result<(&Audience, &Permission), Error> {
    let mut all = client.permissions.iter();
    match (all.next(), all.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(refuse_target("This client is not allowed at any resource.")),
        (Some(_), Some(_)) => {
            Err(refuse_target("This client is allowed at several resources; name one by the resource parameter or by scope."))
        }
    }
}

fn refuse_scope(description: &'static str) -> Error {
    Refusal::new(ErrorCode::InvalidScope, description).into()
}

fn refuse_target(description: &'static str) -> Error {
    Refusal::new(ErrorCode::InvalidTarget, description).into()
}
