use std::{fmt, net::IpAddr};

use futures_util::future::BoxFuture;

/// What the user of a forwarder says about a request.
#[derive(Default)]
pub(crate) struct Terms {
    /// Where it comes from: an address, or a network. Sources share the requests that may be under way, so that none takes all of them. Not
    /// set where all requests come from one source.
    pub(crate) source: Option<IpAddr>,
    /// Ends the connection that the request upgrades, for example when its token expires.
    pub(crate) until: Option<BoxFuture<'static, ()>>,
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terms").field("source", &self.source).finish_non_exhaustive()
    }
}
