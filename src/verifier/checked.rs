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
    /// The caller's claims, if they meet the requirement. A refusal is counted.
    pub(super) fn require<R: Require>(&self) -> Result<Option<&Arc<Claims>>, Error> {
        let Some(claims) = &self.claims else { return Ok(None) };
        match require::<R>(claims) {
            Ok(()) => Ok(Some(claims)),
            Err(error) => {
                self.verifier.count_refusal(&error);
                Err(error)
            }
        }
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
