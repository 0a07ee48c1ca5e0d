//! The path of a rule: `/orders/{id}`.

use std::{collections::BTreeSet, fmt, str::FromStr};

use super::{
    ambiguous::Leniency,
    readings::{MAX_DOTS, MAX_SCRIPTS, is_script},
    request_path::lenient,
    shape::Part,
};

const MAX_LEN: usize = 2048;
const MAX_NAMES: usize = 16;
const MAX_NAME_LEN: usize = 64;

/// The path of a rule. Its texts have only characters that no API reads in two ways, and some request can have such a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// As it is in the file.
    text: String,
    segments: Vec<Segment>,
    /// Without case and a trailing slash.
    shape: Vec<Part>,
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

impl Pattern {
    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub(super) fn shape(&self) -> &[Part] {
        &self.shape
    }

    /// What matches the segments of a path as it was sent: the same letters, nothing of a text encoded, and, as an empty segment, a trailing slash
    /// only if the pattern has one.
    pub(super) fn exact(&self) -> Vec<Part> {
        let slash = self.ends_in_slash().then(|| Part::Text(String::new()));
        self.segments.iter().map(|segment| segment.part(str::to_owned)).chain(slash).collect()
    }

    /// The name at this place among the segments.
    pub(super) fn name_at(&self, place: usize) -> Option<&str> {
        match self.segments.get(place) {
            Some(Segment::Name(name)) => Some(name),
            _ => None,
        }
    }

    /// Whether the segment at this place is a text.
    pub(super) fn spells_out(&self, place: usize) -> bool {
        matches!(self.segments.get(place), Some(Segment::Text(_)))
    }

    /// Why a path that a lenient API matches does not match exactly.
    pub(super) fn difference(&self, path: &str) -> Leniency {
        for (segment, sent) in self.segments.iter().zip(path.split('/').skip(1)) {
            match segment {
                Segment::Text(text) if text.eq_ignore_ascii_case(sent) && text != sent => return Leniency::Case,
                Segment::Text(text) if text != sent => return Leniency::Escape,
                _ => {}
            }
        }
        Leniency::TrailingSlash
    }

    pub(super) fn ends_in_slash(&self) -> bool {
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

impl Segment {
    /// With the text as `read` has it.
    fn part(&self, read: fn(&str) -> String) -> Part {
        match self {
            Self::Text(text) => Part::Text(read(text)),
            Self::Name(_) => Part::Name,
            Self::Rest(_) => Part::Rest,
        }
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
        let texts = inner.strip_suffix('/').or_else(|| Some(inner).filter(|inner| !inner.is_empty()));
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
        let shape: Vec<Part> = segments.iter().map(|segment| segment.part(str::to_ascii_lowercase)).collect();
        if shape.iter().filter(|part| matches!(part, Part::Text(text) if is_script(text))).count() > MAX_SCRIPTS {
            return Err(format!("has more than {MAX_SCRIPTS} segments that are called like scripts, such as index.php"));
        }
        let pattern = Self { text: text.to_owned(), segments, shape };
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
    if text.contains(['|', '[', ']']) {
        return Err(format!("has {text:?}: some callers encode |, [ and ], and others do not; {{id}} matches both"));
    }
    if text.matches('.').count() > MAX_DOTS {
        return Err(format!("has {text:?}: a text has at most {MAX_DOTS} dots"));
    }
    if text.contains('%') || !text.is_ascii() {
        return Err(format!("has {text:?}: a text has no encoded characters, and none beyond ASCII; {{id}} matches such a segment"));
    }
    Ok(Segment::Text(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            ("/a^b", "must be percent-encoded"),
            ("/a|b", "{id} matches both"),
            ("/orders/[id]", "{id} matches both"),
            ("/progra~1", "short name"),
            ("/(S(x))/a", "ASP.NET"),
            ("/a.b.c.d.e.f.g.h.i.j", "at most 8 dots"),
            ("/a.php/b.PHP/c.cgi", "more than 2 segments"),
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
