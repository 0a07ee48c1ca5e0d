//! Why an API is not attacked, or not in full.

use std::{io, net::SocketAddr};

/// Why the API was not attacked, or not in full.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unprobed {
    #[error("the probe cannot answer for the issuer at {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("the probe's issuer cannot be started: {0}")]
    Issuer(#[from] io::Error),
    #[error("the certificate of the issuer cannot be used: {0}")]
    Certificate(String),
    #[error("no HTTP client can be made: {0}")]
    Client(String),
    #[error("{url} is not on this machine: a probe attacks what it is pointed at; add --this-api-is-mine if it is yours")]
    NotLocal { url: String },
    #[error("{url} does not answer ({why}): start the API, before the probe or within --wait")]
    Down { url: String, why: String },
    #[error("{url} redirects to {location}, and redirects are not followed: name the path of the API itself")]
    Redirects { url: String, location: String },
    #[error(
        "{url} answers {status} to a request without a token: the path is public, or the API answers {status} to everything; name a path that needs a token"
    )]
    Public { url: String, status: u16 },
    #[error(
        "{url} answers {status} to a request with a good token: there is no such path, or it has another --method; name a request that an app with a valid token can make"
    )]
    NoSuchRequest { url: String, status: u16 },
    #[error(
        "{url} answers {status} to a request with a good token: the request lacks something else; complete it with --method, --header, --body and --content-type"
    )]
    Incomplete { url: String, status: u16 },
    #[error(
        "{url} answers {status} to the second request with a good token, although the first one succeeded: name a request that can be repeated"
    )]
    OnlyOnce { url: String, status: u16 },
    #[error(
        "{url} answers {status} to a good token and to a forged one, but with another body: the probe reads the status alone; name a request that is answered 401 with a forged token"
    )]
    SaysInBody { url: String, status: u16 },
    #[error("{url} fails on a request with a good token ({answer}): see its log")]
    Fails { url: String, answer: String },
    #[error(
        "{url} accepts the probe's token as valid and answers 403: say with --scope which scope the request needs, and with --claim what else it demands of its callers"
    )]
    NotAllowed { url: String },
    #[error("{url} refuses the probe's good token ({answer}), so it is not configured for the probe's issuer: {fix}")]
    NotConfigured { url: String, answer: String, fix: String },
    #[error(
        "it did not look at {count} requests, because there were too many: it answered 429, or refused good tokens too. Let it accept more requests from this address, or set --rate"
    )]
    Limited { count: usize },
    #[error("there is no token of the name {0:?}: `--show list` lists them")]
    NoSuchToken(String),
}

impl Unprobed {
    /// Whether the command line is wrong, and not the API.
    pub(crate) const fn is_of_usage(&self) -> bool {
        matches!(self, Self::NotLocal { .. } | Self::NoSuchToken(_))
    }
}
