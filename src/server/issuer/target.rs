//! Determines the resource and the scope of a token. A token has one audience.

use super::{Error, Refusal, mistake};
use crate::{
    protocol::{Audience, ErrorCode, Scope, ScopeToken},
    server::{
        model::{Client, Permission},
        secret::Redacted,
    },
};

/// The resource and the scope that a token request names.
#[derive(Debug, Default)]
pub(crate) struct TargetRequest {
    /// RFC 8707 section 2.
    pub(crate) resource: Option<Result<Audience, Redacted>>,
    /// RFC 6749 section 3.3.
    pub(crate) scope: Option<Result<Scope, Redacted>>,
}

/// The resource and the scope that a token is issued for.
#[derive(Debug)]
pub(super) struct Target<'a> {
    pub(super) audience: &'a Audience,
    pub(super) permission: &'a Permission,
    /// The requested scope, or all scopes that the client has there.
    pub(super) scope: Scope,
}

impl TargetRequest {
    /// Determines the resource.
    ///
    /// `resource` names it. Without `resource`, all requested scopes must belong to one resource. Without both, the client must be allowed
    /// at exactly one.
    pub(super) fn resolve<'a>(&self, client: &'a Client) -> Result<Target<'a>, Error> {
        let scope = match &self.scope {
            Some(Ok(scope)) => Some(scope),
            Some(Err(text)) => {
                let description = "The scope is malformed: it must be scope tokens of printable ASCII, separated by single spaces.";
                return Err(refuse_scope(description, mistake::in_scope(text.expose())));
            }
            None => None,
        };
        let (audience, permission) = match (&self.resource, scope) {
            (Some(Err(text)), _) => {
                let refusal =
                    Refusal::new(ErrorCode::InvalidTarget, "The resource is malformed: it must be an absolute URI without a fragment.");
                return Err(Error::Explained { refusal, cause: mistake::in_resource(text.expose()) });
            }
            (Some(Ok(audience)), _) => client.permissions.get_key_value(audience).ok_or_else(|| {
                let refusal = Refusal::new(ErrorCode::InvalidTarget, "This client is not allowed at this resource.");
                Error::Explained { refusal, cause: mistake::other_resource(audience, client.permissions.keys()) }
            })?,
            (None, Some(scope)) => resource_of(client, scope)?,
            (None, None) => only_resource(client)?,
        };
        let scope = match scope {
            Some(scope) if *scope <= permission.scope => scope.clone(),
            Some(scope) => {
                let cause = mistake::excess_scope(scope, |token| permission.scope.contains(token));
                return Err(refuse_scope("The scope exceeds what this client is allowed at this resource.", cause));
            }
            None => permission.scope.clone(),
        };
        Ok(Target { audience, permission, scope })
    }
}

fn resource_of<'a>(client: &'a Client, scope: &Scope) -> Result<(&'a Audience, &'a Permission), Error> {
    let allowed = |token: &ScopeToken| client.permissions.values().any(|permission| permission.scope.contains(token));
    if !scope.iter().all(allowed) {
        return Err(refuse_scope("The scope exceeds what this client is allowed.", mistake::excess_scope(scope, allowed)));
    }
    let all_at_one = client.permissions.iter().find(|(_, permission)| *scope <= permission.scope);
    all_at_one.ok_or_else(|| {
        let description = "The scope spans several resources. Request a token for each.";
        Refusal::new(ErrorCode::InvalidScope, description).into()
    })
}

fn only_resource(client: &Client) -> Result<(&Audience, &Permission), Error> {
    let mut all = client.permissions.iter();
    match (all.next(), all.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(refuse_target("This client is not allowed at any resource.")),
        (Some(_), Some(_)) => {
            Err(refuse_target("This client is allowed at several resources. Name one with the resource parameter or by scope."))
        }
    }
}

fn refuse_scope(description: &'static str, cause: String) -> Error {
    Error::Explained { refusal: Refusal::new(ErrorCode::InvalidScope, description), cause }
}

fn refuse_target(description: &'static str) -> Error {
    Refusal::new(ErrorCode::InvalidTarget, description).into()
}
