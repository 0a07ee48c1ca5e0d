//! Determines the resource and the scope of a token. A token has one audience.

use std::sync::Arc;

use super::{Error, Fault, Refusal, TokenIssuer, excess::refuse_excess, mistake};
use crate::{
    protocol::{Audience, ErrorCode, Scope, ScopeToken},
    server::model::{Client, Resource},
};

/// The resource and the scope that a token request names.
#[derive(Debug, Default)]
pub(crate) struct TargetRequest {
    /// RFC 8707 section 2.
    pub(super) resource: Option<Audience>,
    /// RFC 6749 section 3.3.
    pub(super) scope: Option<Scope>,
}

/// The resource and the scope that a token is issued for.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) resource: Arc<Resource>,
    /// The requested scope, or all scopes that the client has there.
    pub(super) scope: Scope,
}

impl TargetRequest {
    /// Parses the two parameters.
    pub(crate) fn parse(resource: Option<&str>, scope: Option<&str>) -> Result<Self, Error> {
        let scope = scope.map(|text| {
            let description = "The scope is malformed: it must be scope tokens of printable ASCII, separated by single spaces.";
            text.parse().map_err(|_| refuse_scope(description, mistake::in_scope(text)))
        });
        let resource = resource.map(|text| {
            let description = "The resource is malformed: it must be an absolute URI without a fragment, or a name without a colon.";
            text.parse().map_err(|_| refuse_target(description, mistake::in_resource(text)))
        });
        Ok(Self { scope: scope.transpose()?, resource: resource.transpose()? })
    }

    /// The audience of the resource, and the scope that the client is allowed there.
    ///
    /// `resource` names it. Without `resource`, there must be exactly one at which the client is allowed all requested scopes. Without
    /// both, the client must be allowed at exactly one.
    fn select<'a>(&self, client: &'a Client) -> Result<(&'a Audience, &'a Scope), Error> {
        match (&self.resource, &self.scope) {
            (Some(audience), _) => client.permissions.get_key_value(audience).ok_or_else(|| {
                let cause = mistake::other_resource(audience, client.permissions.keys());
                refuse_target("This client is not allowed at this resource.", cause)
            }),
            (None, Some(scope)) => resource_of(client, scope),
            (None, None) => only_resource(client),
        }
    }
}

impl TokenIssuer {
    /// Determines the target of a request.
    pub(super) async fn target(&self, client: &Client, request: &TargetRequest) -> Result<Target, Error> {
        let (audience, allowed) = request.select(client)?;
        let scope = match &request.scope {
            Some(scope) if scope <= allowed => scope.clone(),
            Some(scope) => {
                let cause = mistake::excess_scope_at(scope, allowed, &client.permissions);
                let named = |scope_token: &str| format!("This client is not allowed the scope token {scope_token} at this resource.");
                let unnamed = "The scope exceeds what this client is allowed at this resource.";
                return Err(refuse_excess(scope, |token| allowed.contains(token), named, unnamed, cause));
            }
            None => allowed.clone(),
        };
        Ok(Target { resource: self.resource(audience).await?, scope })
    }

    /// The resource of this audience, at which a client is allowed.
    pub(super) async fn resource(&self, audience: &Audience) -> Result<Arc<Resource>, Error> {
        let found = self.registry.find_resource(audience).await.map_err(Fault::from)?;
        // A resource that clients are allowed at is not deleted; this one was, since the client was read.
        found.ok_or_else(|| refuse_target("This client is not allowed at this resource.", "the resource was deleted".to_owned()))
    }
}

fn resource_of<'a>(client: &'a Client, scope: &Scope) -> Result<(&'a Audience, &'a Scope), Error> {
    let allowed = |token: &ScopeToken| client.permissions.values().any(|allowed| allowed.contains(token));
    if !scope.iter().all(allowed) {
        let named = |scope_token: &str| format!("This client is not allowed the scope token {scope_token}.");
        let unnamed = "The scope exceeds what this client is allowed.";
        return Err(refuse_excess(scope, allowed, named, unnamed, mistake::excess_scope(scope, allowed)));
    }
    // Other resources may own scope tokens of the same names.
    let mut with_all = client.permissions.iter().filter(|(_, allowed)| scope <= *allowed);
    match (with_all.next(), with_all.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => {
            let description = "The scope spans several resources. Request a token for each.";
            Err(Refusal::new(ErrorCode::InvalidScope, description).into())
        }
        (Some((first, _)), Some((second, _))) => {
            let description = "The scope could mean several resources. Name one with the resource parameter.";
            Err(refuse_target(description, mistake::ambiguous_scope(first, second)))
        }
    }
}

fn only_resource(client: &Client) -> Result<(&Audience, &Scope), Error> {
    let refuse = |description| Refusal::new(ErrorCode::InvalidTarget, description).into();
    let mut all = client.permissions.iter();
    match (all.next(), all.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(refuse("This client is not allowed at any resource.")),
        (Some(_), Some(_)) => Err(refuse("This client is allowed at several resources. Name one with the resource parameter or by scope.")),
    }
}

fn refuse_scope(description: &'static str, cause: String) -> Error {
    Error::Explained { refusal: Refusal::new(ErrorCode::InvalidScope, description), cause }
}

fn refuse_target(description: &'static str, cause: String) -> Error {
    Error::Explained { refusal: Refusal::new(ErrorCode::InvalidTarget, description), cause }
}
