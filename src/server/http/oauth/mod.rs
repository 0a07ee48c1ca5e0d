//! The OAuth endpoints: each reads the request, calls the issuer and answers.

pub(super) mod authorization;
mod client_request;
pub(super) mod discovery;
mod form;
pub(super) mod introspection;
pub(super) mod revocation;
pub(super) mod status_lists;
pub(super) mod token;
