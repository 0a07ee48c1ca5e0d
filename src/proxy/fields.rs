//! Which fields pass from one connection to the next (RFC 9110 section 7.6.1).

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, COOKIE, EXPECT, FORWARDED,
        HOST, MAX_FORWARDS, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
    },
};

use super::{
    error::BadRequest,
    reserved::{Reserved, alike},
};

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
static END_TO_END: [HeaderName; 17] = [
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
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
];

/// Further fields that have no meaning after the body (RFC 9110 section 6.5.1). An upstream that merges trailers into the header would
/// otherwise take them for part of it.
static NO_TRAILERS: [HeaderName; 5] = [CACHE_CONTROL, EXPECT, MAX_FORWARDS, SET_COOKIE, TRAILER];

/// The trailers of a request that pass: those that describe its body. The user of this room checks and sets the fields of the header, and
/// does not see the trailers, which an upstream may merge into the header.
static DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];
/// How the names of further ones begin.
const CHECKSUMS: [&str; 4] = ["x-checksum", "x-amz-checksum-", "x-amz-trailer-signature", "x-goog-hash"];

/// Every field that this room treats in its own way.
fn known() -> impl Iterator<Item = &'static HeaderName> {
    HOP_BY_HOP.iter().chain(&END_TO_END).chain(&NO_TRAILERS)
}

/// Whether a field is none of those above to this program, and may be one to the upstream: `Content_Length`, for example.
pub(super) fn is_disguised(name: &HeaderName) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !name.as_str().bytes().all(plain) && known().any(|known| alike(known.as_str(), name.as_str()))
}

/// Removes the fields of an answer that are disguised. In a request, they are refused.
pub(super) fn remove_disguised(fields: &mut HeaderMap) {
    remove_if(fields, is_disguised);
}

fn remove_if(fields: &mut HeaderMap, condition: impl Fn(&HeaderName) -> bool) {
    let found: Vec<HeaderName> = fields.keys().filter(|name| condition(name)).cloned().collect();
    for name in found {
        fields.remove(name);
    }
}

fn is_end_to_end(name: &HeaderName) -> bool {
    END_TO_END.iter().any(|known| alike(known.as_str(), name.as_str()))
}

/// The fields that the `Connection` of a request names.
pub(super) fn named_by_caller(fields: &HeaderMap, reserved: &Reserved) -> Result<Vec<HeaderName>, BadRequest> {
    let mut named = Vec::new();
    for value in fields.get_all(CONNECTION) {
        for option in options(value) {
            let name = option.ok_or(BadRequest::Connection)?;
            if is_end_to_end(&name) || reserved.contains(&name) {
                return Err(BadRequest::Connection);
            }
            named.push(name);
        }
    }
    Ok(named)
}

/// The fields that the `Connection` of an answer names, without those that its caller needs.
pub(super) fn named_by_upstream(fields: &HeaderMap) -> Vec<HeaderName> {
    fields.get_all(CONNECTION).iter().flat_map(options).flatten().filter(|name| !is_end_to_end(name)).collect()
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

/// Keeps those trailers of a request that describe its body.
pub(super) fn keep_digests(trailers: &mut HeaderMap) {
    let describes_body = |name: &HeaderName| DIGESTS.contains(name) || CHECKSUMS.iter().any(|begin| name.as_str().starts_with(begin));
    remove_if(trailers, |name| !describes_body(name));
}

/// Removes what may not stand in the trailers of an answer.
pub(super) fn clean_trailers(trailers: &mut HeaderMap) {
    remove_if(trailers, |name| known().any(|known| alike(known.as_str(), name.as_str())));
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
        let refused = ["x-token-subject", "X_Token-Subject", "Host", "Content_Length", "x.forwarded_for", "a b", "\"x\""];
        for name in END_TO_END.iter().map(HeaderName::as_str).chain(refused) {
            assert_eq!(named(&["close", name]), Err(BadRequest::Connection), "{name}");
        }
        assert_eq!(named_by_upstream(&fields(&[("connection", "close, content-length, x-own, a b")])), ["close", "x-own"]);
    }

    #[test]
    fn gd2_a_field_is_disguised_if_only_another_program_knows_it() {
        let disguised = |name: &str| is_disguised(&name.parse().unwrap());
        for name in ["Content_Length", "transfer.encoding", "X_Forwarded_For", "x-forwarded_for", "max_forwards", "http2_settings"] {
            assert!(disguised(name), "{name}");
        }
        for name in ["content-length", "x-forwarded-for", "x_own", "host", "content_lengths", "_"] {
            assert!(!disguised(name), "{name}");
        }
    }

    #[test]
    fn gd2_trailers_of_a_request_describe_its_body_and_those_of_an_answer_are_not_fields_of_its_header() {
        let left = |clean: fn(&mut HeaderMap), names: &[&str]| {
            let lines: Vec<_> = names.iter().map(|name| (*name, "1")).collect();
            let mut trailers = fields(&lines);
            clean(&mut trailers);
            let mut left: Vec<String> = trailers.keys().map(HeaderName::to_string).collect();
            left.sort_unstable();
            left
        };
        let names =
            ["content-digest", "x-amz-checksum-crc32", "grpc-status", "x-own", "x-forwarded-for", "x_real_ip", "set-cookie", "host"];
        assert_eq!(left(keep_digests, &names), ["content-digest", "x-amz-checksum-crc32"]);
        assert_eq!(left(clean_trailers, &names), ["content-digest", "grpc-status", "x-amz-checksum-crc32", "x-own"]);
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
