//! The path of a rule: `/orders/{id}`.

use std::{collections::BTreeSet, fmt, str::FromStr};

use super::{Ambiguous, request_path::lenient};

const MAX_LEN: usize = 2048;
/// The router has room for 25.
const MAX_NAMES: usize = 16;
const MAX_NAME_LEN: usize = 64;

/// The path of a rule. Its texts have only characters that no API reads in two ways, and some request can have such a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// As it is in the file.
    text: String,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    /// `orders`: exactly this segment.
    Text(String),
    /// `{id}`: any segment.
    Name(String),
    /// `{*rest}`: all segments that follow, at least one.
    Rest(String),
}

impl Segment {
    /// The segment in the syntax of the router, without what a lenient API ignores, and without the name, which does not matter for a match.
    pub(super) fn shape(&self) -> String {
        match self {
            Self::Text(text) => text.to_ascii_lowercase(),
            Self::Name(_) => "{segment}".to_owned(),
            Self::Rest(_) => "{*rest}".to_owned(),
        }
    }

    /// Whether both match the same segments.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(one), Self::Text(other)) => one == other,
            (Self::Name(_), Self::Name(_)) | (Self::Rest(_), Self::Rest(_)) => true,
            _ => false,
        }
    }
}

impl Pattern {
    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The name at this place among the segments.
    pub(super) fn name_at(&self, place: usize) -> Option<&str> {
        match self.segments.get(place) {
            Some(Segment::Name(name)) => Some(name),
            _ => None,
        }
    }

    /// Whether the last segment is a text. `/` counts as one: nothing in it varies.
    pub(super) fn ends_in_text(&self) -> bool {
        self.segments.last().is_none_or(|last| matches!(last, Segment::Text(_)))
    }

    pub(super) fn ends_in_rest(&self) -> bool {
        matches!(self.segments.last(), Some(Segment::Rest(_)))
    }

    /// Whether both have the same texts, and names at the same places. Such patterns match the same paths.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let (segments, others) = (&self.segments, &other.segments);
        segments.len() == others.len()
            && self.ends_in_slash() == other.ends_in_slash()
            && segments.iter().zip(others).all(|(one, other)| one.is_same(other))
    }

    /// Whether the path, as it was sent, matches exactly: the same letters, nothing of a text encoded, a trailing slash only if the pattern has
    /// one.
    pub(super) fn admits(&self, path: &str) -> bool {
        let mut sent = path.split('/').skip(1);
        for segment in &self.segments {
            let matches = match (segment, sent.next()) {
                (Segment::Text(text), Some(sent)) => text == sent,
                (Segment::Name(_), Some(sent)) => !sent.is_empty(),
                (Segment::Rest(_), Some(sent)) => return !sent.is_empty(),
                (_, None) => false,
            };
            if !matches {
                return false;
            }
        }
        let slash_or_end = if self.ends_in_slash() { sent.next() == Some("") } else { true };
        slash_or_end && sent.next().is_none()
    }

    /// Why a path that a lenient API matches does not match exactly. `line` is that of the rule.
    pub(super) fn difference(&self, path: &str, line: usize) -> Ambiguous {
        let mut sent = path.split('/').skip(1);
        for segment in &self.segments {
            match (segment, sent.next().unwrap_or_default()) {
                (Segment::Rest(_), "") => return Ambiguous::NothingBelow(line),
                (Segment::Text(text), sent) if text != sent => {
                    return if sent.contains('%') { Ambiguous::Escape(line) } else { Ambiguous::Case(line) };
                }
                _ => {}
            }
        }
        Ambiguous::TrailingSlash(line)
    }

    fn ends_in_slash(&self) -> bool {
        self.text.ends_with('/')
    }

    /// A path that matches.
    fn example(&self) -> String {
        let segment = |segment: &Segment| match segment {
            Segment::Text(text) => format!("/{text}"),
            Segment::Name(_) | Segment::Rest(_) => "/x".to_owned(),
        };
        let path: String = self.segments.iter().map(segment).collect();
        if self.ends_in_slash() { format!("{path}/") } else { path }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Pattern {
    /// What is wrong with the text, as the end of a sentence about it.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > MAX_LEN {
            return Err(format!("is longer than {MAX_LEN} bytes"));
        }
        let inner = text.strip_prefix('/').ok_or("does not begin with a slash")?;
        let texts = match inner.strip_suffix('/') {
            Some(inner) => Some(inner),
            None => Some(inner).filter(|inner| !inner.is_empty()),
        };
        let segments = texts.into_iter().flat_map(|texts| texts.split('/')).map(segment).collect::<Result<Vec<_>, _>>()?;
        let mut names = BTreeSet::new();
        for (at, segment) in segments.iter().enumerate() {
            let (Segment::Name(name) | Segment::Rest(name)) = segment else { continue };
            if !names.insert(name) {
                return Err(format!("has the name {name} twice"));
            }
            let is_end = at + 1 == segments.len() && !text.ends_with('/');
            if matches!(segment, Segment::Rest(_)) && !is_end {
                return Err(format!("goes on after {{*{name}}}, which matches the whole rest"));
            }
        }
        if names.len() > MAX_NAMES {
            return Err(format!("has more than {MAX_NAMES} names"));
        }
        let pattern = Self { text: text.to_owned(), segments };
        match lenient(&pattern.example()) {
            Ok(_) => Ok(pattern),
            Err(why) => Err(format!("matches no request, because such paths are refused as ambiguous: {why}")),
        }
    }
}

/// Parses a segment. What is ambiguous in a text is found in the path as a whole.
fn segment(text: &str) -> Result<Segment, String> {
    if let Some(name) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        let (name, is_rest) = name.strip_prefix('*').map_or((name, false), |name| (name, true));
        let first = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        if !first || name.len() > MAX_NAME_LEN || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(format!(
                "has {text:?}, which is not a name: write letters, digits and _ between the braces, such as {{id}} or {{*rest}}"
            ));
        }
        return Ok(if is_rest { Segment::Rest(name.to_owned()) } else { Segment::Name(name.to_owned()) });
    }
    if text.contains(['{', '}']) {
        return Err(format!("has {text:?}: a name is a whole segment, such as /{{id}}/"));
    }
    // Other routers have other syntax, and here it would be a text that no request has.
    if text.starts_with(':') {
        return Err(format!("has {text:?}: write a name as {{id}}"));
    }
    if text.contains('*') {
        return Err(format!("has {text:?}: write {{id}} for one segment, or {{*rest}} for all that follow"));
    }
    if text.contains(['?', '#']) {
        return Err(format!("has {text:?}: a pattern has no query or fragment"));
    }
    if text.contains('+') {
        return Err(format!("has {text:?}: some APIs read + as a space"));
    }
    if text.contains('%') || !text.is_ascii() {
        return Err(format!("has {text:?}: a text has no encoded characters, and none beyond ASCII; {{id}} matches such a segment"));
    }
    Ok(Segment::Text(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap_or_else(|why| panic!("{text} {why}"))
    }

    #[test]
    fn gd3_a_pattern_admits_exactly_what_it_says() {
        for (text, admitted, others) in [
            ("/", &["/"][..], &["", "//", "/a", "/x/"][..]),
            ("/orders", &["/orders"], &["/", "/orders/", "/Orders", "/orders/1", "/order", "/orderss"]),
            ("/orders/", &["/orders/"], &["/orders", "/orders/1", "/orders//"]),
            ("/orders/{id}", &["/orders/1", "/orders/a%40b", "/orders/{id}"], &["/orders", "/orders/", "/orders/1/", "/orders/1/items"]),
            ("/{tenant}/orders/{id}/", &["/a/orders/1/"], &["/a/orders/1", "/a/orders//", "//orders/1/"]),
            ("/files/{*path}", &["/files/a", "/files/a/b", "/files/a/"], &["/files", "/files/", "/file/a"]),
            ("/{*rest}", &["/a", "/a/b/"], &["/", ""]),
            ("/v1/orders:cancel", &["/v1/orders:cancel"], &["/v1/orders", "/v1/orders%3Acancel"]),
        ] {
            for path in admitted {
                assert!(pattern(text).admits(path), "{text}: {path}");
            }
            for path in others {
                assert!(!pattern(text).admits(path), "{text}: {path}");
            }
        }
    }

    #[test]
    fn gd3_a_pattern_that_is_ambiguous_or_of_another_syntax_is_refused() {
        for (text, why) in [
            ("", "slash"),
            ("orders", "slash"),
            ("https://api.example/orders", "slash"),
            ("//", "empty segment"),
            ("/a//b", "empty segment"),
            ("/a//", "empty segment"),
            ("/a/../b", "dot segment"),
            ("/./a", "dot segment"),
            ("/a./b", "ends with a dot"),
            ("/a;b", "semicolon"),
            ("/a?b=c", "query or fragment"),
            ("/a#b", "query or fragment"),
            ("/a\\b", "backslash"),
            ("/a%2Fb", "encoded characters"),
            ("/caf%C3%A9", "encoded characters"),
            ("/caf\u{e9}", "beyond ASCII"),
            ("/a b", "must be percent-encoded"),
            ("/a\tb", "control character"),
            ("/a|b", "must be percent-encoded"),
            ("/files::$DATA", ":$"),
            ("/c++", "as a space"),
            ("/orders/:id", "{id}"),
            ("/files/*", "{*rest}"),
            ("/files/.*", "{*rest}"),
            ("/orders/{id", "whole segment"),
            ("/orders/a{id}", "whole segment"),
            ("/orders/{{id}}", "not a name"),
            ("/orders/{}", "not a name"),
            ("/orders/{*}", "not a name"),
            ("/orders/{1}", "not a name"),
            ("/orders/{a-b}", "not a name"),
            ("/orders/{id}/items/{id}", "twice"),
            ("/files/{*path}/x", "whole rest"),
            ("/files/{*path}/", "whole rest"),
        ] {
            let refused = text.parse::<Pattern>().unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
        let names = |count: usize| (0..count).map(|number| format!("/{{n{number}}}")).collect::<String>();
        assert!(names(MAX_NAMES).parse::<Pattern>().is_ok() && names(MAX_NAMES + 1).parse::<Pattern>().is_err());
        assert!(format!("/{}", "a".repeat(MAX_LEN)).parse::<Pattern>().is_err());
    }
}
