//! Patterns, found by the paths that they match.

use std::collections::BTreeMap;

use super::shape::Part;

/// What is known about patterns, by their parts. A router of another crate would return the most specific pattern for a path; here, all that match
/// are needed.
#[derive(Debug, Clone)]
pub(super) struct PathTree<T> {
    texts: BTreeMap<String, Self>,
    name: Option<Box<Self>>,
    rest: Option<T>,
    /// Of the pattern that ends here.
    end: Option<T>,
}

impl<T> Default for PathTree<T> {
    fn default() -> Self {
        Self { texts: BTreeMap::new(), name: None, rest: None, end: None }
    }
}

impl<T: Default> PathTree<T> {
    /// What is known about a pattern, by default nothing.
    pub(super) fn entry(&mut self, shape: &[Part]) -> &mut T {
        match shape {
            [] => self.end.get_or_insert_default(),
            [Part::Rest, ..] => self.rest.get_or_insert_default(),
            [Part::Name, shape @ ..] => self.name.get_or_insert_default().entry(shape),
            [Part::Text(text), shape @ ..] => self.texts.entry(text.clone()).or_default().entry(shape),
        }
    }
}

impl<T> PathTree<T> {
    /// The patterns that match a path, beginning with the most specific one. Compared from the left, a text is more specific than a name, and a
    /// name than a rest. An empty segment matches only as a text.
    ///
    /// Visits each part of the patterns at most once.
    pub(super) fn matches(&self, path: &[&str]) -> Vec<&T> {
        let mut found = Vec::new();
        self.add_matches(path, &mut found);
        found
    }

    fn add_matches<'a>(&'a self, path: &[&str], found: &mut Vec<&'a T>) {
        let Some((first, path)) = path.split_first() else {
            found.extend(&self.end);
            return;
        };
        if let Some(below) = self.texts.get(*first) {
            below.add_matches(path, found);
        }
        if first.is_empty() {
            return;
        }
        if let Some(below) = &self.name {
            below.add_matches(path, found);
        }
        found.extend(&self.rest);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::pattern::Pattern, *};

    fn matches(patterns: &[&str], path: &str) -> Vec<String> {
        let mut tree = PathTree::<Vec<String>>::default();
        for text in patterns {
            let pattern: Pattern = text.parse().unwrap_or_else(|why| panic!("{text} {why}"));
            tree.entry(&pattern.exact()).push((*text).to_owned());
        }
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        tree.matches(&segments).into_iter().flatten().cloned().collect()
    }

    #[test]
    fn gd3_a_pattern_matches_exactly_what_it_says() {
        for (text, matched, others) in [
            ("/", &["/"][..], &["", "//", "/a", "/x/"][..]),
            ("/orders", &["/orders"], &["/", "/orders/", "/Orders", "/orders/1", "/order", "/orderss"]),
            ("/orders/", &["/orders/"], &["/orders", "/orders/1", "/orders//"]),
            ("/orders/{id}", &["/orders/1", "/orders/a%40b", "/orders/{id}"], &["/orders", "/orders/", "/orders/1/", "/orders/1/items"]),
            ("/{tenant}/orders/{id}/", &["/a/orders/1/"], &["/a/orders/1", "/a/orders//", "//orders/1/"]),
            ("/files/{*path}", &["/files/a", "/files/a/b", "/files/a/"], &["/files", "/files/", "/file/a"]),
            ("/{*rest}", &["/a", "/a/b/"], &["/", ""]),
            ("/v1/orders:cancel", &["/v1/orders:cancel"], &["/v1/orders", "/v1/orders%3Acancel"]),
        ] {
            for path in matched {
                assert_eq!(matches(&[text], path), [text], "{path}");
            }
            for path in others {
                assert_eq!(matches(&[text], path), [""; 0], "{text}: {path}");
            }
        }
    }

    #[test]
    fn gd3_all_patterns_that_match_are_found_the_most_specific_one_first() {
        let patterns = ["/{*rest}", "/{a}/{*rest}", "/{a}/b", "/{a}/{b}", "/a/{*rest}", "/a/{b}", "/a/b", "/a/b/c"];
        assert_eq!(matches(&patterns, "/a/b"), ["/a/b", "/a/{b}", "/a/{*rest}", "/{a}/b", "/{a}/{b}", "/{a}/{*rest}", "/{*rest}"]);
        assert_eq!(matches(&patterns, "/a/b/"), ["/a/{*rest}", "/{a}/{*rest}", "/{*rest}"]);
        assert_eq!(matches(&patterns, "/x/c"), ["/{a}/{b}", "/{a}/{*rest}", "/{*rest}"]);
    }
}
