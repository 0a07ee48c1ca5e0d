//! The path of a request: what is ambiguous in it, and how the most lenient API reads it.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::{Ambiguous, unicode};

const MAX_LEN: usize = 8192;
const MAX_SEGMENTS: usize = 128;

/// The path as the most lenient API reads it: decoded, without case, without a trailing slash. Nothing is allocated for a path that is in this
/// form already.
///
/// What has several readings of its own, whatever the rules are, is refused.
pub(super) fn lenient(path: &str) -> Result<Cow<'_, str>, Ambiguous> {
    if !path.starts_with('/') {
        return Err(Ambiguous::NotAbsolute);
    }
    if path.len() > MAX_LEN {
        return Err(Ambiguous::TooLong);
    }
    check_bytes(path.as_bytes())?;
    // As a space, which `trim` removes after `urldecode` of PHP.
    if path.ends_with('+') || ["/+", "+/", "+."].iter().any(|plus| path.contains(plus)) {
        return Err(Ambiguous::TrimmedSegment);
    }
    let decoded = percent_decode_str(path).decode_utf8().map_err(|_| Ambiguous::NotUtf8)?;
    check_segments(&decoded)?;
    if !decoded.is_ascii() {
        return Ok(without_trailing_slash(Cow::Owned(folded(&decoded)?)));
    }
    let has_case = decoded.bytes().any(|byte| byte.is_ascii_uppercase());
    Ok(without_trailing_slash(if has_case { Cow::Owned(decoded.to_ascii_lowercase()) } else { decoded }))
}

/// Checks each character, and each that is encoded.
fn check_bytes(path: &[u8]) -> Result<(), Ambiguous> {
    let mut bytes = path.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'/' => {}
            b'%' => {
                let high = bytes.next().and_then(hex).ok_or(Ambiguous::BadEscape)?;
                let low = bytes.next().and_then(hex).ok_or(Ambiguous::BadEscape)?;
                check_escaped((high << 4) | low)?;
            }
            _ => check_plain(byte)?,
        }
    }
    Ok(())
}

/// `pchar` of RFC 3986 section 3.3, apart from the semicolon, and the other characters that browsers leave as they are.
fn check_plain(byte: u8) -> Result<(), Ambiguous> {
    match byte {
        b'\\' => Err(Ambiguous::EncodedSlash),
        b';' => Err(Ambiguous::PathParameters),
        b'?' | b'#' => Err(Ambiguous::Delimiter),
        _ if byte.is_ascii_control() => Err(Ambiguous::Control),
        _ if is_unreserved(byte) || b"!$&'()*+,=:@|[]".contains(&byte) => Ok(()),
        _ => Err(Ambiguous::NotEncoded),
    }
}

fn check_escaped(byte: u8) -> Result<(), Ambiguous> {
    match byte {
        b'/' | b'\\' => Err(Ambiguous::EncodedSlash),
        b'%' => Err(Ambiguous::EncodedPercent),
        b';' => Err(Ambiguous::PathParameters),
        b'?' | b'#' => Err(Ambiguous::Delimiter),
        _ if byte.is_ascii_control() => Err(Ambiguous::Control),
        _ if is_unreserved(byte) => Err(Ambiguous::NeedlessEscape),
        _ => Ok(()),
    }
}

/// `unreserved` of RFC 3986 section 2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Checks the segments of a decoded path.
fn check_segments(path: &str) -> Result<(), Ambiguous> {
    let inner = path.strip_prefix('/').unwrap_or(path);
    if inner.is_empty() {
        return Ok(());
    }
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    for (count, segment) in inner.split('/').enumerate() {
        if count == MAX_SEGMENTS {
            return Err(Ambiguous::TooLong);
        }
        match segment {
            "" => return Err(Ambiguous::EmptySegment),
            "." | ".." => return Err(Ambiguous::DotSegment),
            // A space before a dot is at the end once a suffix is removed.
            _ if segment.ends_with('.') || segment.trim() != segment || segment.contains(" .") => return Err(Ambiguous::TrimmedSegment),
            _ if segment.contains(":$") => return Err(Ambiguous::FileStream),
            _ if is_short_name(segment) => return Err(Ambiguous::ShortName),
            _ if is_cookieless(segment) => return Err(Ambiguous::Cookieless),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a file with a longer name can be called this on Windows: `ADMINI~1.PHP`.
fn is_short_name(segment: &str) -> bool {
    const MAX_LEN: usize = 8;
    let stem = segment.split('.').next().unwrap_or_default();
    let numbered = stem.rsplit_once('~').filter(|_| stem.len() <= MAX_LEN);
    numbered.is_some_and(|(name, number)| !name.is_empty() && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether ASP.NET takes the segment for the identifier of a session or of a login, and removes it: `(S(...))`.
fn is_cookieless(segment: &str) -> bool {
    matches!(segment.as_bytes(), [b'(', kind, b'(', ..] if kind.is_ascii_alphabetic())
}

/// A decoded path beyond ASCII, without case. Refused if that makes other segments of it.
fn folded(decoded: &str) -> Result<String, Ambiguous> {
    if decoded.chars().any(char::is_control) {
        return Err(Ambiguous::Control);
    }
    if decoded.contains(unicode::SOFT_HYPHEN) {
        return Err(Ambiguous::Lookalike);
    }
    let folded = unicode::folded(decoded);
    let slashes = |text: &str| text.bytes().filter(|byte| *byte == b'/').count();
    // These are nowhere in a path that was decoded, so they come from other characters.
    let is_delimiter = |c: char| matches!(c, '\\' | '%' | ';' | '?' | '#') || c.is_control() || unicode::resembles_slash(c);
    if slashes(&folded) != slashes(decoded) || folded.chars().any(is_delimiter) {
        return Err(Ambiguous::Lookalike);
    }
    check_segments(&folded)?;
    Ok(folded)
}

/// The segments of a path that [`lenient`] has read.
pub(super) fn segments(read: &str) -> Vec<&str> {
    read.split('/').filter(|segment| !segment.is_empty()).collect()
}

fn without_trailing_slash(path: Cow<'_, str>) -> Cow<'_, str> {
    if path.len() == 1 || !path.ends_with('/') {
        return path;
    }
    match path {
        Cow::Borrowed(path) => Cow::Borrowed(&path[..path.len() - 1]),
        Cow::Owned(mut path) => {
            path.pop();
            Cow::Owned(path)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gd3_a_path_that_has_several_readings_is_refused_for_its_reason() {
        for (path, why) in [
            ("", Ambiguous::NotAbsolute),
            ("*", Ambiguous::NotAbsolute),
            ("orders", Ambiguous::NotAbsolute),
            ("http://api.example/orders", Ambiguous::NotAbsolute),
            ("/a%2Fb", Ambiguous::EncodedSlash),
            ("/a%2fb", Ambiguous::EncodedSlash),
            ("/a%5Cb", Ambiguous::EncodedSlash),
            ("/a\\b", Ambiguous::EncodedSlash),
            ("/a%252Fb", Ambiguous::EncodedPercent),
            ("/%61dmin", Ambiguous::NeedlessEscape),
            ("/%2e%2e/admin", Ambiguous::NeedlessEscape),
            ("/a%7Eb", Ambiguous::NeedlessEscape),
            ("/a%", Ambiguous::BadEscape),
            ("/a%4", Ambiguous::BadEscape),
            ("/a%zz", Ambiguous::BadEscape),
            ("/a%u002fb", Ambiguous::BadEscape),
            ("/a%+1", Ambiguous::BadEscape),
            // An overlong slash, a surrogate, and an incomplete sequence.
            ("/a%c0%afb", Ambiguous::NotUtf8),
            ("/a%ed%a0%80", Ambiguous::NotUtf8),
            ("/a%e2%82", Ambiguous::NotUtf8),
            ("/%ff", Ambiguous::NotUtf8),
            ("/caf\u{e9}", Ambiguous::NotEncoded),
            ("/a b", Ambiguous::NotEncoded),
            ("/{id}", Ambiguous::NotEncoded),
            ("/a\"b", Ambiguous::NotEncoded),
            ("/a^b", Ambiguous::NotEncoded),
            ("/a`b", Ambiguous::NotEncoded),
            ("/a%00", Ambiguous::Control),
            ("/a%0d%0aX: y", Ambiguous::Control),
            ("/a\u{0}", Ambiguous::Control),
            ("/a%7f", Ambiguous::Control),
            ("/a%c2%85b", Ambiguous::Control),
            ("/a;b=c", Ambiguous::PathParameters),
            ("/a%3Bb", Ambiguous::PathParameters),
            ("/a#b", Ambiguous::Delimiter),
            ("/a?b", Ambiguous::Delimiter),
            ("/a%23b", Ambiguous::Delimiter),
            ("/a%3Fb", Ambiguous::Delimiter),
            ("//", Ambiguous::EmptySegment),
            ("//a", Ambiguous::EmptySegment),
            ("/a//b", Ambiguous::EmptySegment),
            ("/a//", Ambiguous::EmptySegment),
            ("/a/%E2%80%8B/b", Ambiguous::EmptySegment),
            ("/.", Ambiguous::DotSegment),
            ("/..", Ambiguous::DotSegment),
            ("/a/../b", Ambiguous::DotSegment),
            ("/a/./", Ambiguous::DotSegment),
            ("/..%E2%80%8B/a", Ambiguous::DotSegment),
            ("/...", Ambiguous::TrimmedSegment),
            ("/admin.", Ambiguous::TrimmedSegment),
            ("/admin./users", Ambiguous::TrimmedSegment),
            ("/admin%20", Ambiguous::TrimmedSegment),
            ("/%20admin/users", Ambiguous::TrimmedSegment),
            ("/admin%C2%A0", Ambiguous::TrimmedSegment),
            ("/admin+", Ambiguous::TrimmedSegment),
            ("/+admin", Ambiguous::TrimmedSegment),
            ("/admin+.json", Ambiguous::TrimmedSegment),
            ("/admin%20.json", Ambiguous::TrimmedSegment),
            ("/admin+/users", Ambiguous::TrimmedSegment),
            ("/orders::$DATA", Ambiguous::FileStream),
            ("/admin%3a$i30:$INDEX_ALLOCATION/users", Ambiguous::FileStream),
            ("/ADMINI~1", Ambiguous::ShortName),
            ("/x/admin~12.php/users", Ambiguous::ShortName),
            ("/(S(x))/admin", Ambiguous::Cookieless),
            ("/x/%28a%28x))/admin", Ambiguous::Cookieless),
            ("/(X(1)F(x))/admin", Ambiguous::Cookieless),
            ("/admin%EF%BC%8Fusers", Ambiguous::Lookalike),
            ("/x%C2%A5admin", Ambiguous::Lookalike),
            ("/x%E2%82%A9admin", Ambiguous::Lookalike),
            ("/ad%C2%ADmin", Ambiguous::Lookalike),
            ("/admin%E2%88%95users", Ambiguous::Lookalike),
            ("/%E2%84%80", Ambiguous::Lookalike),
            ("/a%EF%BC%85b", Ambiguous::Lookalike),
            ("/%EF%BC%8E%EF%BC%8E/a", Ambiguous::DotSegment),
        ] {
            assert_eq!(lenient(path), Err(why), "{path:?}");
        }
        assert_eq!(lenient(&format!("/{}", "a".repeat(MAX_LEN))), Err(Ambiguous::TooLong));
        assert_eq!(lenient(&"/a".repeat(MAX_SEGMENTS + 1)), Err(Ambiguous::TooLong));
        assert!(lenient(&"/a".repeat(MAX_SEGMENTS)).is_ok());
    }

    #[test]
    fn gd3_a_lenient_api_ignores_case_encoding_and_a_trailing_slash() {
        for (path, read) in [
            ("/", "/"),
            ("/orders", "/orders"),
            ("/orders/", "/orders"),
            ("/Orders/A-1_~.x/", "/orders/a-1_~.x"),
            ("/users/a%40b.example", "/users/a@b.example"),
            ("/a%20b", "/a b"),
            ("/%7Bid%7D", "/{id}"),
            ("/c%2B%2B/a+b", "/c++/a+b"),
            ("/caf%C3%A9", "/caf\u{e9}"),
            ("/CAFE%CC%81/", "/caf\u{e9}"),
            ("/%E2%84%AAeys", "/keys"),
            ("/a+b,c=d:e@f!g$h&i'j(k)*", "/a+b,c=d:e@f!g$h&i'j(k)*"),
            ("/a|b/c[0]", "/a|b/c[0]"),
            ("/~alice/a~b1/name-of-nine~1/~1", "/~alice/a~b1/name-of-nine~1/~1"),
            ("/orders(1)/(all)", "/orders(1)/(all)"),
        ] {
            assert_eq!(lenient(path).as_deref(), Ok(read), "{path:?}");
        }
        assert_eq!(segments("/"), [""; 0]);
        assert_eq!(segments("/orders/1"), ["orders", "1"]);
        assert!(matches!(lenient("/orders/1/"), Ok(Cow::Borrowed("/orders/1"))), "nothing is allocated");
    }
}
