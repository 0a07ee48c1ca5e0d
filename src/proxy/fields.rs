//! Which fields pass from one connection to the next (RFC 9110 section 7.6.1).

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, COOKIE, EXPECT, FORWARDED,
        HOST, MAX_FORWARDS, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
    },
};

use super::{error::BadRequest, reserved::Reserved};

/// Fields that are for the next recipient only, whether `Connection` names them or not. `HTTP2-Settings` belongs to `Upgrade: h2c`.
static HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-authentication-info"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// Fields that `Connection` must not name, because every recipient needs them. A proxy that removed them at a caller's wish would hide from
/// the upstream who asks, for what, or from where.
static END_TO_END: [HeaderName; 15] = [
    AUTHORIZATION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    COOKIE,
    FORWARDED,
    HOST,
    VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
];

/// Further fields that have no meaning after the body (RFC 9110 section 6.5.1). An upstream that merges trailers into the header would
/// otherwise take them for part of it.
static NO_TRAILERS: [HeaderName; 5] = [CACHE_CONTROL, EXPECT, MAX_FORWARDS, SET_COOKIE, TRAILER];

/// The fields that the `Connection` of a request names.
pub(super) fn named_by_caller(fields: &HeaderMap, reserved: &Reserved) -> Result<Vec<HeaderName>, BadRequest> {
    let mut named = Vec::new();
    for value in fields.get_all(CONNECTION) {
        for option in options(value) {
            let name = option.ok_or(BadRequest::Connection)?;
            if END_TO_END.contains(&name) || reserved.contains(&name) {
                return Err(BadRequest::Connection);
            }
            named.push(name);
        }
    }
    Ok(named)
}

/// The fields that the `Connection` of an answer names, without those that its caller needs.
pub(super) fn named_by_upstream(fields: &HeaderMap) -> Vec<HeaderName> {
    fields.get_all(CONNECTION).iter().flat_map(options).flatten().filter(|name| !END_TO_END.contains(name)).collect()
}

/// The options of a line of `Connection`; `None` for one that is not a token.
fn options(line: &HeaderValue) -> impl Iterator<Item = Option<HeaderName>> {
    let options = line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|option| !option.is_empty());
    options.map(|option| HeaderName::from_bytes(option).ok())
}

/// Removes what is not for the next recipient.
pub(super) fn remove_hop_by_hop(fields: &mut HeaderMap, named: &[HeaderName]) {
    for name in HOP_BY_HOP.iter().chain(named) {
        fields.remove(name);
    }
}

/// Removes what may not stand in trailers.
pub(super) fn keep_trailers(trailers: &mut HeaderMap) {
    for name in HOP_BY_HOP.iter().chain(&END_TO_END).chain(&NO_TRAILERS) {
        trailers.remove(name);
    }
}

/// A message whose length can be read in two ways.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ambiguous {
    Length,
    TransferEncoding,
}

/// The `Content-Length` of a message. A message with several, or with one beside `Transfer-Encoding`, or with a transfer coding other than
/// `chunked`, is refused (RFC 9112 sections 6.1 and 6.3): another program may find another end of it.
pub(super) fn content_length(fields: &HeaderMap) -> Result<Option<u64>, Ambiguous> {
    let chunked = match only(fields, &TRANSFER_ENCODING) {
        Ok(None) => false,
        Ok(Some(coding)) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => true,
        _ => return Err(Ambiguous::TransferEncoding),
    };
    match only(fields, &CONTENT_LENGTH) {
        Ok(None) => Ok(None),
        Ok(Some(_)) if chunked => Err(Ambiguous::TransferEncoding),
        Ok(Some(length)) => digits(length.as_bytes()).map(Some).ok_or(Ambiguous::Length),
        Err(Several) => Err(Ambiguous::Length),
    }
}

fn digits(text: &[u8]) -> Option<u64> {
    // `parse` alone would accept a sign.
    let text = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok()
}

/// A field that is there more than once.
#[derive(Debug)]
pub(super) struct Several;

/// The value of a field that a message may have once.
pub(super) fn only<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Several> {
    let mut values = fields.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() { Err(Several) } else { Ok(first) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())).collect()
    }

    #[test]
    fn gd2_connection_cannot_remove_what_the_upstream_needs() {
        let reserved = Reserved::new([HeaderName::from_static("x-token-subject")]);
        let named = |values: &[&str]| {
            let lines: Vec<_> = values.iter().map(|value| ("connection", *value)).collect();
            named_by_caller(&fields(&lines), &reserved)
        };
        assert_eq!(named(&["close, ,TE", "X-Own"]).unwrap(), ["close", "te", "x-own"]);
        for name in END_TO_END.iter().map(HeaderName::as_str).chain(["x-token-subject", "X_Token-Subject", "Host", "a b", "\u{7f}x"]) {
            let value = HeaderValue::from_bytes(name.as_bytes());
            let Ok(value) = value else { continue };
            let mut lines = fields(&[("connection", "close")]);
            lines.append(CONNECTION, value);
            assert_eq!(named_by_caller(&lines, &reserved), Err(BadRequest::Connection), "{name}");
        }
        assert_eq!(named_by_upstream(&fields(&[("connection", "close, content-length, x-own, a b")])), ["close", "x-own"]);
    }

    #[test]
    fn gd2_a_message_has_one_length() {
        let length = |lines: &[(&str, &str)]| content_length(&fields(lines));
        assert_eq!(length(&[]), Ok(None));
        assert_eq!(length(&[("transfer-encoding", "Chunked")]), Ok(None));
        assert_eq!(length(&[("content-length", "0")]), Ok(Some(0)));
        assert_eq!(length(&[("content-length", "42")]), Ok(Some(42)));
        for value in ["42, 42", "+42", "-1", "", "0x10", "4 2", "99999999999999999999"] {
            assert_eq!(length(&[("content-length", value)]), Err(Ambiguous::Length), "{value:?}");
        }
        assert_eq!(length(&[("content-length", "42"), ("content-length", "42")]), Err(Ambiguous::Length));
        for coding in ["gzip, chunked", "chunked, chunked", "identity", "chunked;x=1", ""] {
            assert_eq!(length(&[("transfer-encoding", coding)]), Err(Ambiguous::TransferEncoding), "{coding:?}");
        }
        assert_eq!(length(&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]), Err(Ambiguous::TransferEncoding));
        assert_eq!(length(&[("content-length", "42"), ("transfer-encoding", "chunked")]), Err(Ambiguous::TransferEncoding));
    }
}
