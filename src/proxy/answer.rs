//! Makes the answer to the caller out of that of the upstream.

use http::{HeaderMap, HeaderValue, StatusCode, header::CONTENT_LENGTH, response::Parts};

use super::{
    connector::HEAD_LIMIT,
    error::ForwardError,
    fields::{self, Ambiguous},
};

/// Refuses an answer whose header is too large, or whose end depends on who reads it: the caller's next answer would begin within it.
pub(super) fn check(status: StatusCode, fields: &HeaderMap) -> Result<(), ForwardError> {
    check_size(fields)?;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(());
    }
    fields::content_length(fields).map(drop).map_err(|ambiguous| {
        ForwardError::BadAnswer(match ambiguous {
            Ambiguous::Length => "its Content-Length is malformed or there twice".into(),
            Ambiguous::TransferEncoding => "it has a Transfer-Encoding other than chunked, or a Content-Length beside it".into(),
        })
    })
}

/// The client stops at a larger size only, because it also reads what follows the header.
fn check_size(fields: &HeaderMap) -> Result<(), ForwardError> {
    const SEPARATORS: usize = ": \r\n".len();
    let size: usize = fields.iter().map(|(name, value)| name.as_str().len() + value.len() + SEPARATORS).sum();
    if size > HEAD_LIMIT { Err(ForwardError::BadAnswer("its header is larger than 64 KiB".into())) } else { Ok(()) }
}

/// Removes what is not for the caller from an answer that was checked.
pub(super) fn clean(head: &mut Parts) {
    let fields = &mut head.headers;
    let length = fields::content_length(fields);
    let named = fields::named_by_upstream(fields);
    fields::remove_hop_by_hop(fields, &named);
    fields::remove_disguised(fields);
    if head.status == StatusCode::NO_CONTENT {
        // RFC 9110 section 8.6 forbids it, and callers wait for the body that it announces.
        fields.remove(CONTENT_LENGTH);
    } else if let Ok(Some(length)) = length {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}
