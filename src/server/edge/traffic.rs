use std::time::Duration;

/// What the requests of a listener are like, from which the limits of its connections follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// Small requests and answers, each of which ends within seconds.
    Messages,
    /// Bodies of any length, answers without an end, and upgraded connections. A request is under way for as long as bytes move. To a connection
    /// none of whose requests was passed on, the limits of `Messages` apply (see `Peer::begin_stream`).
    Streams {
        /// How long no piece of a body and no answer may move, in either direction, while requests are under way. Longer than all that is
        /// waited for behind the listener, so that the caller gets its error instead of a closed connection.
        quiet: Duration,
    },
}

impl Traffic {
    pub(super) const fn streams(self) -> bool {
        matches!(self, Self::Streams { .. })
    }

    /// How long a connection with requests under way may go without progress.
    pub(super) const fn stall_limit(self) -> Duration {
        match self {
            // Without finishing one: a request has 30 s; the rest is for the client to read the answer.
            Self::Messages => Duration::from_secs(60),
            // Without progress.
            Self::Streams { quiet } => quiet,
        }
    }

    /// After this time without progress, a connection with a request under way can be closed to make room for another one.
    pub(super) const fn eviction_limit(self) -> Duration {
        match self {
            // Longer than a body may take to arrive.
            Self::Messages => Duration::from_secs(12),
            // Before, it may be healthy: an answer is awaited, or an event.
            Self::Streams { quiet } => quiet,
        }
    }

    /// How long a client may not read what it is sent.
    pub(super) const fn write_limit(self) -> Duration {
        match self {
            Self::Messages => Duration::from_secs(10),
            // It may read slowly; what is behind the listener is then slow as well.
            Self::Streams { quiet } => quiet,
        }
    }

    /// Maximum number of concurrent requests on an HTTP/2 connection.
    pub(super) const fn stream_limit(self) -> u32 {
        match self {
            Self::Messages => 32,
            // The least that RFC 9113 section 6.5.2 recommends: streams may stay open.
            Self::Streams { .. } => 100,
        }
    }

    /// Flow-control window of an HTTP/2 stream. Data beyond it stays with the sender and takes no memory here.
    pub(super) const fn stream_window(self) -> u32 {
        match self {
            Self::Messages => 16 * 1024,
            // As much of a body arrives in a round trip.
            Self::Streams { .. } => 64 * 1024,
        }
    }

    /// Flow-control window of an HTTP/2 connection.
    pub(super) const fn connection_window(self) -> u32 {
        match self {
            // The minimum of the protocol (RFC 9113 section 6.9.2).
            Self::Messages => 65_535,
            // A few bodies that are not read must not stop the others.
            Self::Streams { .. } => 256 * 1024,
        }
    }
}
