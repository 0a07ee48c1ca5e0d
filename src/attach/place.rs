//! Which requests a route is for.

use std::{fmt, str::FromStr};

use super::listen::ListenAt;

/// Which requests a route is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Those that arrive on the listener of the process, under a path.
    Path(Prefix),
    /// Those that arrive on a listener of its own.
    Listener(ListenAt),
}

/// The beginning of a path, without a slash at its end: `""` or `/orders`. It matches whole segments and is removed from the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prefix(String);

/// A text that is not the beginning of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InvalidPath;

impl Place {
    /// Whether both are for the same requests.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Path(one), Self::Path(other)) => one == other,
            (Self::Listener(one), Self::Listener(other)) => one.is_same_as(other),
            _ => false,
        }
    }
}

impl FromStr for Prefix {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        // Compared with the path of a request as it arrives.
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&byte));
        let prefix = text.strip_suffix('/').unwrap_or(text);
        let whole = match prefix.strip_prefix('/') {
            Some(segments) => segments.split('/').all(|segment| !matches!(segment, "" | "." | "..")),
            None => prefix.is_empty(),
        };
        if plain && whole && text.starts_with('/') { Ok(Self(prefix.to_owned())) } else { Err(InvalidPath) }
    }
}

impl Prefix {
    /// The beginning of every path.
    pub(super) const fn everything() -> Self {
        Self(String::new())
    }

    /// What follows the prefix in this path: empty, or a path. `None` if the path does not begin with it.
    pub(super) fn remove_from<'p>(&self, path: &'p str) -> Option<&'p str> {
        path.strip_prefix(self.0.as_str()).filter(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it matches every path.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(Prefix(prefix)) if prefix.is_empty() => f.write_str("/"),
            Self::Path(Prefix(prefix)) => f.write_str(prefix),
            Self::Listener(listener) => listener.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn gd4_a_prefix_has_whole_segments_without_dots() {
        for path in ["", "orders", "//", "/a//b", "/a//", "/./a", "/a/..", "/a?b", "/a#b", "/a b", "/\u{e9}"] {
            assert_eq!(path.parse::<Prefix>(), Err(InvalidPath), "{path:?}");
        }
        for path in ["/", "/orders", "/orders/", "/v1/orders", "/a%2fb", "/..a"] {
            assert!(path.parse::<Prefix>().is_ok(), "{path:?}");
        }
    }

    #[test]
    fn gd4_a_prefix_matches_whole_segments_and_is_removed() {
        let orders = prefix("/orders");
        for (path, rest) in [("/orders", Some("")), ("/orders/", Some("/")), ("/orders/1", Some("/1")), ("/orders//1", Some("//1"))] {
            assert_eq!(orders.remove_from(path), rest, "{path}");
        }
        for path in ["/order", "/orders2", "/Orders/1", "/%6frders/1", "/", "*", "/x/orders"] {
            assert_eq!(orders.remove_from(path), None, "{path}");
        }
        assert_eq!(prefix("/").remove_from("/orders/1"), Some("/orders/1"));
        assert_eq!(prefix("/").remove_from("*"), None);
    }
}
