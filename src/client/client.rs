//! The HTTP client of a trusted app.

use std::fmt;

use http::Method;
use reqwest::{IntoUrl, Request, Response};

use super::{
    Error, RequestBuilder, Status, TokenSource,
    attach::AttachLayer,
    request::{Sender, request_methods},
};

/// An HTTP client that attaches its token to requests to the given origins. Its clones share the token and the connections.
#[derive(Clone)]
pub struct Client {
    sender: Sender,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sender { source, origins, .. } = &self.sender;
        f.debug_struct("Client").field("source", source).field("origins", origins).finish_non_exhaustive()
    }
}

impl Client {
    pub(super) const fn new(sender: Sender) -> Self {
        Self { sender }
    }

    request_methods!();

    /// A tower layer that attaches the token to the requests of another HTTP client, such as tonic's: see [`AttachLayer`].
    #[must_use]
    pub fn layer(&self) -> AttachLayer {
        AttachLayer::new(self.sender.source.clone(), self.sender.origins.clone())
    }
}
