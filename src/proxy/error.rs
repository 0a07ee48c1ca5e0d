use std::{borrow::Cow, error::Error, io, path::PathBuf};

use http::StatusCode;

/// Why a request was not forwarded, or got no answer. The messages hold nothing that the caller wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ForwardError {
    #[error("the upstream cannot be reached: {0}")]
    Unreachable(String),
    #[error("the upstream did not answer in time")]
    TimedOut,
    #[error("the upstream's answer cannot be used: {0}")]
    BadAnswer(Cow<'static, str>),
    #[error("the request is not forwarded: {0}")]
    BadRequest(BadRequest),
    /// The caller stopped sending within its request.
    #[error("the rest of the request did not arrive in time")]
    Stalled,
    /// The maximum number of requests is under way, in total or from this source; or the upstream's HTTP/2 connection has had no stream left
    /// for as long as a connection may take.
    #[error("too many requests to the upstream are under way")]
    Full,
}

impl ForwardError {
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Unreachable(_) | Self::BadAnswer(_) => StatusCode::BAD_GATEWAY,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Stalled => StatusCode::REQUEST_TIMEOUT,
            Self::Full => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<BadRequest> for ForwardError {
    fn from(why: BadRequest) -> Self {
        Self::BadRequest(why)
    }
}

/// What is wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRequest {
    #[error("CONNECT and TRACE are not supported")]
    Method,
    #[error("its target is neither a path nor an http or https URL with a path")]
    Target,
    #[error("it must name exactly one host, without a user name")]
    Host,
    #[error("its Connection names a field that is for every recipient, or is malformed")]
    Connection,
    #[error("it has a field such as Content_Length or X.Forwarded-For, which another program may read as the field with hyphens")]
    Spelling,
    #[error("its Content-Length is malformed, there twice, or not the length of its body")]
    Length,
    #[error("it has a Transfer-Encoding other than chunked, or a Content-Length beside it")]
    TransferEncoding,
    #[error("its body ended early")]
    Body,
    #[error("it has been forwarded too often, perhaps in a circle")]
    Circle,
}

/// Why no forwarder can be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error("{} cannot be read: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} contains no certificate in PEM", path.display())]
    NoPem { path: PathBuf },
    #[error("TLS to the upstream cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// The messages of an error and its causes, on one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The first error of type `E` among an error and its causes.
pub(super) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
