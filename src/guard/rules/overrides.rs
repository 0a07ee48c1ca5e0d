//! Requests that ask the API to take them for other requests than they are.

use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;

use super::Ambiguous;

/// Headers from which frameworks take the method instead of from the request.
const METHOD_HEADERS: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];
/// Headers from which frameworks take the path: those of the rewriting module of IIS, which PHP frameworks read too. And those that move the
/// path below which the API is, so that it cuts another beginning off: gunicorn reads the variables of CGI from a proxy, Daphne a header of its
/// own, and middleware the rest.
const PATH_HEADERS: [&str; 7] =
    ["daphne-root-path", "path-info", "script-name", "x-forwarded-script-name", "x-original-url", "x-rewrite-url", "x-script-name"];
/// The same in a query, as PHP and others write the names: `_` for each other mark.
const PARAMETERS: [&str; 4] = ["_method", "x_http_method_override", "x_http_method", "x_method_override"];

/// Refuses a request with such a header or parameter, whatever its value is.
pub(super) fn refuse(query: Option<&str>, headers: &HeaderMap) -> Result<(), Ambiguous> {
    if let Some(why) = headers.keys().find_map(overridden) {
        return Err(why);
    }
    query.map_or(Ok(()), check_query)
}

/// Whether a request with this header is refused.
pub(crate) fn is_override(header: &HeaderName) -> bool {
    overridden(header).is_some()
}

fn overridden(header: &HeaderName) -> Option<Ambiguous> {
    let is = |known: &&str| is_header(header.as_str(), known);
    if METHOD_HEADERS.iter().any(is) {
        return Some(Ambiguous::MethodHeader);
    }
    PATH_HEADERS.iter().any(is).then_some(Ambiguous::PathHeader)
}

/// `X_HTTP_Method_Override` is the same header for an API behind CGI, WSGI or Rack, and `X.HTTP.Method.Override` for one in PHP.
fn is_header(name: &str, known: &str) -> bool {
    let is_same = |(byte, known): (u8, u8)| byte == known || known == b'-' && !byte.is_ascii_alphanumeric();
    name.len() == known.len() && name.bytes().zip(known.bytes()).all(is_same)
}

fn check_query(query: &str) -> Result<(), Ambiguous> {
    if query.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(Ambiguous::Control);
    }
    if query.contains('#') {
        return Err(Ambiguous::Delimiter);
    }
    // Older parsers also part parameters at a semicolon.
    for name in query.split(['&', ';']).map(|parameter| parameter.split('=').next().unwrap_or_default()) {
        if PARAMETERS.iter().any(|known| is_parameter(name, known)) {
            return Err(Ambiguous::MethodParameter);
        }
        // Some parsers drop such a percent sign, and some know `%u005f`.
        if name.split('%').skip(1).any(|after| !begins_with_hex(after)) {
            return Err(Ambiguous::BadEscape);
        }
    }
    Ok(())
}

fn begins_with_hex(text: &str) -> bool {
    text.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

/// Whether an API may read the parameter under this name: decoded, without leading spaces, without `[..]`, without case, and with any mark in
/// place of a `_`, as PHP does.
fn is_parameter(name: &str, known: &str) -> bool {
    let mut bytes = percent_decode_str(name).skip_while(|byte| matches!(*byte, b' ' | b'+' | b'\t'));
    let plain = |byte: u8| if matches!(byte, b' ' | b'+' | b'.' | b'-' | b'[') { b'_' } else { byte.to_ascii_lowercase() };
    known.bytes().all(|expected| bytes.next().map(plain) == Some(expected))
        && bytes.next().is_none_or(|next| matches!(next, b'[' | b']' | 0))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn gd3_a_query_that_overrides_the_method_is_refused_however_it_is_written() {
        for query in [
            "_method=DELETE",
            "a=b&_method=DELETE",
            "a=b;_method=DELETE",
            "_method",
            "_METHOD=delete",
            "%5fmethod=DELETE",
            "_metho%64=DELETE",
            "_method[]=DELETE",
            "_method%5B%5D=DELETE",
            "+_method=DELETE",
            "%20_method=DELETE",
            ".method=DELETE",
            "[method=DELETE",
            "_method%00x=DELETE",
            "X-HTTP-Method-Override=DELETE",
            "x.http.method.override=DELETE",
        ] {
            assert_eq!(refuse(Some(query), &HeaderMap::new()), Err(Ambiguous::MethodParameter), "{query}");
        }
        for query in
            ["", "method=DELETE", "a=_method", "x_method=1", "_methods=1", "_method_name=1", "q=a%26_method%3DDELETE", "caf\u{e9}=1"]
        {
            assert_eq!(refuse(Some(query), &HeaderMap::new()), Ok(()), "{query}");
        }
        for query in ["_%method=DELETE", "%u005fmethod=DELETE", "a=b&100%", "%=1", "a%4=1"] {
            assert_eq!(refuse(Some(query), &HeaderMap::new()), Err(Ambiguous::BadEscape), "{query}");
        }
        assert_eq!(refuse(Some("discount=100%"), &HeaderMap::new()), Ok(()), "only names matter");
        assert_eq!(refuse(Some("a=b#c"), &HeaderMap::new()), Err(Ambiguous::Delimiter));
        assert_eq!(refuse(Some("a=b\r\n"), &HeaderMap::new()), Err(Ambiguous::Control));
    }

    #[test]
    fn gd3_a_header_that_overrides_the_method_or_the_path_is_refused() {
        for (name, outcome) in [
            ("X-HTTP-Method-Override", Err(Ambiguous::MethodHeader)),
            ("X_HTTP_Method_Override", Err(Ambiguous::MethodHeader)),
            ("x-http_method-override", Err(Ambiguous::MethodHeader)),
            ("x.http.method.override", Err(Ambiguous::MethodHeader)),
            ("X-HTTP-Method", Err(Ambiguous::MethodHeader)),
            ("X-Method-Override", Err(Ambiguous::MethodHeader)),
            ("X-Original-URL", Err(Ambiguous::PathHeader)),
            ("x.original.url", Err(Ambiguous::PathHeader)),
            ("X_Rewrite_Url", Err(Ambiguous::PathHeader)),
            ("Script-Name", Err(Ambiguous::PathHeader)),
            ("SCRIPT_NAME", Err(Ambiguous::PathHeader)),
            ("PATH_INFO", Err(Ambiguous::PathHeader)),
            ("Daphne-Root-Path", Err(Ambiguous::PathHeader)),
            ("X-Script-Name", Err(Ambiguous::PathHeader)),
            ("X-Forwarded-Script-Name", Err(Ambiguous::PathHeader)),
            ("X-Request-Id", Ok(())),
            ("X-HTTP-Methods", Ok(())),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("accept", HeaderValue::from_static("*/*"));
            headers.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static(""));
            assert_eq!(refuse(None, &headers), outcome, "{name}");
        }
    }
}
