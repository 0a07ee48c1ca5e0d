//! How many connections a listener has.

use std::time::Duration;

use super::traffic::Traffic;

/// Upper bound of [`ConnectionLimits::leaving`].
const LEAVING_LIMIT: usize = 64;

/// Limits on the number and the lifetime of connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionLimits {
    /// Maximum in total. At the limit, the connection that has been idle longest is closed for a new one.
    pub(crate) total: usize,
    /// Maximum from one address, or one /64 in IPv6, unless it is a trusted proxy. The same holds at this limit.
    pub(crate) per_source: usize,
    /// Maximum time without a request.
    pub(crate) idle: Duration,
    /// Maximum lifetime of a connection.
    pub(crate) age: Duration,
    pub(crate) traffic: Traffic,
}

impl ConnectionLimits {
    /// For a listener with a few callers: scrapers, health checks and operators, or a person who tries requests.
    pub(crate) const FEW_CALLERS: Self =
        Self { total: 64, per_source: 64, idle: Duration::from_secs(75), age: Duration::from_secs(3600), traffic: Traffic::Messages };

    /// How many connections may be open beyond `total`: those that were ordered to make room and are not closed yet.
    pub(super) fn leaving(self) -> usize {
        (self.total / 8).clamp(8, LEAVING_LIMIT)
    }

    /// Reduces the limits to the file descriptors that the process may have, less those that it needs itself.
    pub(crate) fn affordable(self) -> Self {
        /// For database connections and files, the log, the listeners, and what libraries open temporarily.
        const OWN: usize = 256;
        let Some(descriptors) = descriptor_limit() else { return self };
        // What streams has connections behind it: see `connections_behind`.
        let descriptors = if self.traffic.streams() { descriptors / 2 } else { descriptors };
        let total = self.total.min(descriptors.saturating_sub(OWN + LEAVING_LIMIT).max(descriptors / 2)).max(1);
        if total == self.total {
            return self;
        }
        tracing::warn!(
            descriptors,
            wanted = self.total,
            connections = total,
            "fewer connections than configured: raise the limit of open files"
        );
        Self { total, per_source: self.per_source.min(total.div_ceil(2)), ..self }
    }
}

/// The most connections that there may be behind listeners that stream: those that requests are forwarded on, and idle ones. It is the half
/// of the file descriptors that [`ConnectionLimits::affordable`] leaves to them.
pub(crate) fn connections_behind() -> usize {
    descriptor_limit().map_or(usize::MAX, |descriptors| (descriptors / 2).saturating_sub(LEAVING_LIMIT).max(1))
}

/// The file descriptor limit of this process, after raising it to the hard limit.
#[cfg(unix)]
fn descriptor_limit() -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    // A failure leaves the limit as it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok())
}

#[cfg(not(unix))]
fn descriptor_limit() -> Option<usize> {
    None
}
