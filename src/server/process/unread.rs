//! The bodies of requests that are answered before they have been read.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Version, header, request::Parts},
};
use http_body_util::BodyExt;

/// How much of a body is read and dropped, in bytes.
const LIMIT: usize = 4 * 1024 * 1024;
/// Time limit for that.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Reads and drops the body of a refused request. Over HTTP/1, closing a connection while the caller still sends would make it lose the
/// answer. Over HTTP/2, only the stream is reset. With `Expect: 100-continue`, the caller has not sent it (RFC 9110 section 10.1.1).
pub(crate) async fn discard(mut body: Body, parts: &Parts) {
    if parts.version >= Version::HTTP_2 || parts.headers.contains_key(header::EXPECT) {
        return;
    }
    let reading = async {
        let mut length = 0;
        while length <= LIMIT
            && let Some(Ok(frame)) = body.frame().await
        {
            length += frame.data_ref().map_or(0, |data| data.len());
        }
    };
    // The request is refused in any case.
    let _ = tokio::time::timeout(TIME_LIMIT, reading).await;
}
