//! The bodies of requests that are answered before they have been read.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Version, header, request::Parts},
};
use http_body_util::BodyExt;

use super::lent::Lent;

/// How much of a body is read and dropped, in bytes.
const LIMIT: usize = 4 * 1024 * 1024;
/// Time limit for that.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// The body of a request that may be refused while its caller still sends.
#[derive(Debug)]
pub(crate) struct Unread {
    body: Lent,
    /// Whether the caller loses the answer if it still sends. Over HTTP/2, only the stream is reset.
    is_http1: bool,
    /// Whether the caller sends the body only once it is asked for (RFC 9110 section 10.1.1).
    expects_100: bool,
}

impl Unread {
    /// The body of the request with these `parts`, to read or to forward, and the means to read its rest.
    pub(crate) fn new(body: Body, parts: &Parts) -> (Body, Self) {
        let (given, body) = Lent::new(body);
        (given, Self { body, is_http1: parts.version < Version::HTTP_2, expects_100: parts.headers.contains_key(header::EXPECT) })
    }

    /// Reads and drops the rest of the body of a refused request. Otherwise, the connection would be closed while the caller still sends.
    pub(crate) async fn discard(&self) {
        if !self.is_http1 || self.expects_100 && !self.body.is_asked_for() {
            return;
        }
        let mut rest = self.body.rest();
        let reading = async {
            let mut length = 0;
            while length <= LIMIT
                && let Some(Ok(frame)) = rest.frame().await
            {
                length += frame.data_ref().map_or(0, |data| data.len());
            }
        };
        // The request is refused in any case.
        let _ = tokio::time::timeout(TIME_LIMIT, reading).await;
    }
}
