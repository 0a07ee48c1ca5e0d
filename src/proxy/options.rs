use std::path::PathBuf;

use super::reserved::Reserved;

/// How requests are forwarded.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) protocol: Protocol,
    /// The fields that only the user of the forwarder sets.
    pub(crate) reserved: Reserved,
    /// A file of certificates in PEM, whose issuers are trusted in addition to the system's.
    pub(crate) extra_ca: Option<PathBuf>,
    /// Maximum number of requests under way, including upgraded connections. Each has a connection to the upstream, unless that is HTTP/2:
    /// then all share one, and the upstream allows only so many on it (often 100); what it does not take in time is answered with 503.
    pub(crate) concurrent: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { protocol: Protocol::Http1(HostField::Caller), reserved: Reserved::default(), extra_ca: None, concurrent: 1024 }
    }
}

impl Options {
    /// Reduces the number of requests so that there are at most this many connections to the upstream, each of which takes a file descriptor:
    /// one for every request under way, and as many idle ones.
    pub(crate) fn within(mut self, connections: usize) -> Self {
        let most = (connections / 2).max(1);
        if most < self.concurrent {
            tracing::warn!(
                wanted = self.concurrent,
                requests = most,
                "fewer requests to the upstream at once than configured: raise the limit of open files"
            );
            self.concurrent = most;
        }
        self
    }

    /// How many idle connections a pool keeps. A forwarder has up to two pools.
    pub(super) fn idle_connections(&self) -> usize {
        const MOST: usize = 256;
        (self.concurrent / 2).clamp(1, MOST)
    }
}

/// Which HTTP the upstream is spoken to in.
///
/// Only HTTP/1.1 can keep the caller's `Host`: the client keeps connections by the authority of the URI, which in HTTP/2 is also what the
/// upstream sees in `:authority`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    Http1(HostField),
    /// HTTP/2 or HTTP/1.1, as the upstream chooses in the TLS handshake (ALPN); HTTP/1.1 without TLS. The upstream sees its own name, and
    /// connections are upgraded over HTTP/1.1.
    Negotiated,
    /// HTTP/2 from the first byte (RFC 9113 section 3.3), for example for gRPC. The upstream sees its own name. No connection is upgraded.
    Http2,
}

/// The `Host` that the upstream gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostField {
    /// The one that the caller sent.
    Caller,
    /// Its own.
    Origin,
}

impl Protocol {
    pub(super) fn keeps_host(self) -> bool {
        self == Self::Http1(HostField::Caller)
    }

    /// Whether a connection can be upgraded.
    pub(super) fn upgrades(self) -> bool {
        self != Self::Http2
    }
}
