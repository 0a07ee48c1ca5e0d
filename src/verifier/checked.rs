//! The result of the layer, as it stands among the extensions of a request.

use std::sync::Arc;

use super::{Claims, Error, Require, Verifier};

/// The result of the layer. Only the layer can put it into a request.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    /// `None` if the caller sent no token and the layer allows that.
    pub(super) claims: Option<Arc<Claims>>,
    pub(super) resource_metadata: Option<Arc<str>>,
    /// Whether the layer sends gRPC answers.
    pub(super) grpc: bool,
    pub(super) verifier: Verifier,
}

impl Checked {
    /// Counts a refusal by what stands behind the layer.
    pub(super) fn counted<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        outcome.inspect_err(|error| self.verifier.count_refusal(error))
    }
}

/// Checks that the claims meet the requirement.
pub(super) fn require<R: Require>(claims: &Claims) -> Result<(), Error> {
    if R::is_met(claims) {
        return Ok(());
    }
    // A caller that has the scope already must not be sent to request it again.
    let scope = R::scope();
    let lacks = scope.split(' ').any(|scope| !scope.is_empty() && !claims.has_scope(scope));
    Err(if lacks { Error::InsufficientScope(scope) } else { Error::WrongCaller })
}
