//! APIs that read paths more leniently than the guard. They are written without it, segment by segment.

use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;
use unicode_normalization::UnicodeNormalization;

/// A handler of the API, and what the rules say that its requests need.
#[derive(Debug, Clone)]
pub(super) struct Handler {
    pub(super) path: String,
    pub(super) method: Option<&'static str>,
    pub(super) needs: &'static str,
}

/// How an API compares paths with those of its handlers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Api {
    ignores_case: bool,
    ignores_slash: bool,
    /// `/files/{*path}` is for `/files` too.
    rest_may_be_empty: bool,
}

impl Api {
    pub(super) const STRICT: Self = Self { ignores_case: false, ignores_slash: false, rest_may_be_empty: false };

    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..8).map(|bits| Self { ignores_case: bits & 1 != 0, ignores_slash: bits & 2 != 0, rest_may_be_empty: bits & 4 != 0 })
    }

    /// What a request needs for the rules, when this API has read its path: that of the handlers with the most specific path.
    pub(super) fn needs(self, handlers: &[Handler], method: &str, path: &str) -> BTreeSet<&'static str> {
        let matching: Vec<&Handler> = handlers.iter().filter(|handler| self.matches(&handler.path, path)).collect();
        let best = matching.iter().map(|handler| self.kinds(&handler.path)).min();
        let best = matching.iter().filter(|handler| Some(self.kinds(&handler.path)) == best);
        best.filter(|handler| handler.method.is_none_or(|its| its == method)).map(|handler| handler.needs).collect()
    }

    fn segments(self, path: &str) -> Vec<&str> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = if self.ignores_slash { path.strip_suffix('/').unwrap_or(path) } else { path };
        if path.is_empty() { Vec::new() } else { path.split('/').collect() }
    }

    /// Smaller is more specific.
    fn kinds(self, pattern: &str) -> Vec<u8> {
        let kind = |segment: &&str| if segment.starts_with("{*") { 2 } else { u8::from(segment.starts_with('{')) };
        self.segments(pattern).iter().map(kind).collect()
    }

    fn matches(self, pattern: &str, path: &str) -> bool {
        let (pattern, path) = (self.segments(pattern), self.segments(path));
        for (at, segment) in pattern.iter().enumerate() {
            let sent = path.get(at).copied();
            if segment.starts_with("{*") {
                return sent.map_or(self.rest_may_be_empty, |sent| !sent.is_empty() || self.rest_may_be_empty);
            }
            let Some(sent) = sent else { return false };
            let is_match = if segment.starts_with('{') { !sent.is_empty() } else { self.is_text(segment, sent) };
            if !is_match {
                return false;
            }
        }
        path.len() == pattern.len()
    }

    fn is_text(self, text: &str, sent: &str) -> bool {
        let folds = || text.to_lowercase() == sent.to_lowercase() || text.to_uppercase() == sent.to_uppercase();
        text == sent || self.ignores_case && folds()
    }
}

/// The paths that APIs make of one before they compare it, in up to three steps. `suffix`: whether one of them removes a suffix.
pub(super) fn readings(path: &str, suffix: bool) -> BTreeSet<String> {
    let mut steps: Vec<fn(&str) -> Vec<String>> =
        vec![decoded, spaced, without_dots, without_parameters, slashed, merged, trimmed, normalized];
    if suffix {
        steps.push(without_suffix);
    }
    let mut readings = BTreeSet::from([path.to_owned()]);
    for _ in 0..3 {
        let more: Vec<String> = readings.iter().flat_map(|path| steps.iter().flat_map(|step| step(path))).collect();
        readings.extend(more);
    }
    readings
}

fn decoded(path: &str) -> Vec<String> {
    vec![percent_decode_str(path).decode_utf8_lossy().into_owned()]
}

/// As `urldecode` of PHP.
fn spaced(path: &str) -> Vec<String> {
    vec![path.replace('+', " ")]
}

/// RFC 3986 section 5.2.4.
fn without_dots(path: &str) -> Vec<String> {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    vec![format!("/{}", kept.join("/"))]
}

fn without_parameters(path: &str) -> Vec<String> {
    let cut = |segment: &str| segment.split(';').next().unwrap_or_default().to_owned();
    vec![path.split('/').map(cut).collect::<Vec<_>>().join("/")]
}

fn slashed(path: &str) -> Vec<String> {
    vec![path.replace('\\', "/")]
}

fn merged(path: &str) -> Vec<String> {
    vec![path.replace("//", "/")]
}

fn trimmed(path: &str) -> Vec<String> {
    let trim = |segment: &str| match segment {
        "." | ".." => segment.to_owned(),
        _ => segment.trim().trim_end_matches(['.', ' ']).to_owned(),
    };
    vec![path.split('/').map(trim).collect::<Vec<_>>().join("/")]
}

fn normalized(path: &str) -> Vec<String> {
    vec![path.nfkc().collect()]
}

/// Without what follows one of the dots of the last segment.
fn without_suffix(path: &str) -> Vec<String> {
    let last = path.rfind('/').map_or(0, |slash| slash + 1);
    let dots = path[last..].match_indices('.').filter(|(dot, _)| *dot > 0);
    dots.map(|(dot, _)| path[..last + dot].to_owned()).collect()
}
