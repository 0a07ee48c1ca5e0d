//! What travels beside a request and its answer: where it came from, and what the log is told of it.

use std::net::SocketAddr;

use crate::protocol::GrantType;

/// Who is at the other end of the connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source(pub(super) SocketAddr);

/// What a handler has to say for the log; it travels with the answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Note {
    /// The client's id, or what a refused request gave as one, fit for a log.
    pub(super) client: Option<String>,
    pub(super) grant: Option<GrantType>,
    /// Why it was refused or failed; the caller may not learn it.
    pub(super) cause: Option<String>,
}
