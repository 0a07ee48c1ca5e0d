//! Which paths a pattern matches, as a sequence of segments.

use std::fmt;

/// What matches a segment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// Only this segment.
    Text(String),
    /// Any segment.
    Name,
    /// All segments that follow, at least one. The last part.
    Rest,
}

/// Whether the parts match these segments, none of which is empty.
pub(super) fn matches(shape: &[Part], path: &[&str]) -> bool {
    match (shape, path) {
        ([], []) | ([Part::Rest, ..], [_, ..]) => true,
        ([Part::Name, shape @ ..], [_, path @ ..]) => matches(shape, path),
        ([Part::Text(text), shape @ ..], [first, path @ ..]) => text == first && matches(shape, path),
        _ => false,
    }
}

/// Whether every path that `narrow` matches is one that `broad` matches.
pub(super) fn contains(broad: &[Part], narrow: &[Part]) -> bool {
    match (broad, narrow) {
        ([], []) | ([Part::Rest, ..], [_, ..]) => true,
        (_, [Part::Rest, ..]) => false,
        ([Part::Name, broad @ ..], [_, narrow @ ..]) => contains(broad, narrow),
        ([Part::Text(one), broad @ ..], [Part::Text(other), narrow @ ..]) => one == other && contains(broad, narrow),
        _ => false,
    }
}

/// What matches the paths that both match. `None` if there are none.
pub(super) fn intersection(one: &[Part], other: &[Part]) -> Option<Vec<Part>> {
    match (one, other) {
        ([], []) => Some(Vec::new()),
        ([], _) | (_, []) => None,
        ([Part::Rest, ..], narrow) | (narrow, [Part::Rest, ..]) => Some(narrow.to_vec()),
        ([Part::Name, one @ ..], [part, other @ ..]) | ([part, one @ ..], [Part::Name, other @ ..]) => {
            Some([vec![part.clone()], intersection(one, other)?].concat())
        }
        ([first, one @ ..], [second, other @ ..]) if first == second => Some([vec![first.clone()], intersection(one, other)?].concat()),
        _ => None,
    }
}

/// The parts in the syntax of a rule.
#[derive(Debug)]
pub(super) struct Shown<'a>(pub(super) &'a [Part]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("/");
        }
        for (place, part) in self.0.iter().enumerate() {
            match part {
                Part::Text(text) => write!(f, "/{text}")?,
                Part::Name => write!(f, "/{{name{place}}}")?,
                Part::Rest => f.write_str("/{*rest}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Vec<Part> {
        let part = |segment: &str| match segment {
            "{}" => Part::Name,
            "{*}" => Part::Rest,
            text => Part::Text(text.to_owned()),
        };
        text.split('/').filter(|segment| !segment.is_empty()).map(part).collect()
    }

    #[test]
    fn gd3_of_two_patterns_one_contains_the_other_or_both_match_a_third() {
        for (one, other, both) in [
            ("/", "/", Some("/")),
            ("/a", "/a", Some("/a")),
            ("/a", "/b", None),
            ("/a", "/a/b", None),
            ("/a", "/", None),
            ("/{*}", "/", None),
            ("/{}", "/a", Some("/a")),
            ("/{}", "/a/b", None),
            ("/{*}", "/a/{}", Some("/a/{}")),
            ("/{*}", "/a/{*}", Some("/a/{*}")),
            ("/a/{*}", "/a", None),
            ("/static/{*}", "/{}/admin", Some("/static/admin")),
            ("/{}/{}", "/a/{*}", Some("/a/{}")),
            ("/{}/b/{*}", "/a/{}/{}", Some("/a/b/{}")),
        ] {
            let both = both.map(shape);
            let (one, other) = (shape(one), shape(other));
            assert_eq!(intersection(&one, &other), both, "{one:?} {other:?}");
            assert_eq!(intersection(&other, &one), both, "{one:?} {other:?}");
            // One contains the other exactly if they have the other in common.
            assert_eq!(contains(&one, &other), both.as_ref() == Some(&other), "{one:?} {other:?}");
            assert_eq!(contains(&other, &one), both.as_ref() == Some(&one), "{one:?} {other:?}");
        }
    }

    #[test]
    fn gd3_a_shape_matches_segments_and_is_shown_as_a_path() {
        for (text, matched, others, shown) in [
            ("/", &[][..], &["a"][..], "/"),
            ("/a/{}", &["a", "b"], &["a"], "/a/{name1}"),
            ("/a/{*}", &["a", "b", "c"], &["a"], "/a/{*rest}"),
        ] {
            let shape = shape(text);
            assert!(matches(&shape, matched) && !matches(&shape, others), "{text}");
            assert_eq!(Shown(&shape).to_string(), shown);
        }
    }
}
