//! APIs that read paths more leniently than the guard. They are written without it, segment by segment.

use std::collections::{BTreeMap, BTreeSet};

use percent_encoding::percent_decode_str;
use unicode_normalization::UnicodeNormalization;

/// A handler of the API, and what the rules say that its requests need.
#[derive(Debug, Clone)]
pub(super) struct Handler {
    pub(super) path: String,
    pub(super) method: Option<&'static str>,
    pub(super) needs: &'static str,
}

/// What an API does with the paths of its handlers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extension {
    /// `/orders/{id}` is for `/orders` too.
    OptionalNames,
    /// `/admin.php` is for `/admin` too.
    Suffix,
    /// `/site/index.php` is for `/site` too.
    Index,
    /// `/admin.php` is for everything below it.
    BelowFile,
    /// `/index.php/orders` is for `/orders` too.
    Script,
}

impl Extension {
    const ALL: [Self; 5] = [Self::OptionalNames, Self::Suffix, Self::Index, Self::BelowFile, Self::Script];
}

/// How an API compares paths with those of its handlers.
#[derive(Debug, Clone)]
pub(super) struct Api {
    ignores_case: bool,
    ignores_slash: bool,
    /// `/files/{*path}` is for `/files` too.
    rest_may_be_empty: bool,
    extensions: Vec<Extension>,
    /// With their paths, and those that the extensions add.
    handlers: Vec<(String, Handler)>,
}

impl Api {
    pub(super) fn strict(handlers: &[Handler]) -> Self {
        Self::new(handlers, 0, &[])
    }

    pub(super) fn all(handlers: &[Handler]) -> Vec<Self> {
        let plain = (0..8).map(|bits| Self::new(handlers, bits, &[]));
        let one = Extension::ALL.iter().flat_map(|extension| [0, 2, 7].map(|bits| Self::new(handlers, bits, &[*extension])));
        let every = [0, 2, 7].map(|bits| Self::new(handlers, bits, &Extension::ALL));
        plain.chain(one).chain(every).collect()
    }

    fn new(handlers: &[Handler], bits: u8, extensions: &[Extension]) -> Self {
        Self {
            ignores_case: bits & 1 != 0,
            ignores_slash: bits & 2 != 0,
            rest_may_be_empty: bits & 4 != 0,
            extensions: extensions.to_vec(),
            handlers: extended(handlers, extensions),
        }
    }

    /// Whether the API can come to read a path in this way.
    pub(super) fn can(&self, way: Way) -> bool {
        match way {
            Way::Compared => true,
            // What rewrites a path does not mind a slash at its end.
            Way::Rewritten => self.ignores_slash,
            Way::Folder => self.ignores_slash && self.extensions.contains(&Extension::OptionalNames),
        }
    }

    /// What a request needs for the rules, when this API has read its path: that of each handler which it may choose, whatever their order is, as
    /// long as a handler that is within another one comes before it.
    pub(super) fn needs(&self, method: &str, path: &str) -> BTreeSet<&'static str> {
        let is_for = |(known, handler): &&(String, Handler)| handler.method.is_none_or(|its| its == method) && self.matches(known, path);
        let matching: Vec<_> = self.handlers.iter().filter(is_for).collect();
        let is_within = |one: &str, other: &str| contains(other, one) && !contains(one, other);
        let first = matching.iter().filter(|(path, _)| !matching.iter().any(|(other, _)| is_within(other, path)));
        first.map(|(_, handler)| handler.needs).collect()
    }

    fn matches(&self, pattern: &str, path: &str) -> bool {
        let (pattern, path) = (segments(pattern, self.ignores_slash), segments(path, self.ignores_slash));
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

    fn is_text(&self, text: &str, sent: &str) -> bool {
        let folds = || text.to_lowercase() == sent.to_lowercase() || text.to_uppercase() == sent.to_uppercase();
        text == sent || self.ignores_case && folds()
    }
}

fn segments(path: &str, ignores_slash: bool) -> Vec<&str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = if ignores_slash { path.strip_suffix('/').unwrap_or(path) } else { path };
    if path.is_empty() { Vec::new() } else { path.split('/').collect() }
}

/// Whether each path of the second pattern is one of the first.
fn contains(broad: &str, narrow: &str) -> bool {
    let (broad, narrow) = (segments(broad, true), segments(narrow, true));
    for (at, segment) in broad.iter().enumerate() {
        match narrow.get(at) {
            _ if segment.starts_with("{*") => return true,
            None => return false,
            Some(other) if other.starts_with("{*") => return false,
            Some(_) if segment.starts_with('{') => {}
            Some(other) if segment.eq_ignore_ascii_case(other) => {}
            Some(_) => return false,
        }
    }
    broad.len() == narrow.len()
}

/// The handlers, and, by the extensions, the other paths for which they are. A path with a handler of its own is for no other.
fn extended(handlers: &[Handler], extensions: &[Extension]) -> Vec<(String, Handler)> {
    let has = |extension| extensions.contains(&extension);
    let key = |path: &str| {
        let segments = segments(path, true);
        let key = |segment: &&str| match *segment {
            rest if rest.starts_with("{*") => "{*}".to_owned(),
            name if name.starts_with('{') => "{}".to_owned(),
            text => text.to_lowercase(),
        };
        segments.iter().map(key).collect::<Vec<_>>()
    };
    let own: BTreeSet<_> = handlers.iter().map(|handler| key(&handler.path)).collect();
    let mut all: Vec<_> = handlers.iter().map(|handler| (handler.path.clone(), handler.clone())).collect();
    let mut add = |more: fn(&str) -> Vec<String>| {
        let more = all.iter().flat_map(|(path, handler)| more(path).into_iter().map(move |path| (path, handler.clone())));
        let more: Vec<_> = more.filter(|(path, _)| !own.contains(&key(path))).collect();
        all.extend(more);
    };
    if has(Extension::Script) {
        add(|path| without_scripts(path, |_| false));
    }
    if has(Extension::OptionalNames) {
        add(without_names);
    }
    if has(Extension::Suffix) {
        add(without_suffix);
    }
    if has(Extension::Index) {
        add(|path| folder(path).into_iter().collect());
    }
    if has(Extension::BelowFile) {
        add(below_file);
    }
    all
}

fn without_names(path: &str) -> Vec<String> {
    let mut segments = segments(path, true);
    let mut found = Vec::new();
    while segments.last().is_some_and(|last| last.starts_with('{')) {
        segments.pop();
        found.push(format!("/{}", segments.join("/")));
    }
    found
}

fn below_file(path: &str) -> Vec<String> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let is_file = path.rsplit('/').next().is_some_and(|last| last.rfind('.').is_some_and(|dot| dot > 0));
    if is_file { vec![format!("{path}/{{*below}}")] } else { Vec::new() }
}

/// How an API comes to read another path than the one that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// It compares paths in its own way.
    Compared,
    /// It takes a file for its folder.
    Folder,
    /// It, or the server in front of it, rewrites paths.
    Rewritten,
}

/// The paths that APIs make of one. `pattern` is that of the rule that decides: what it spells out is meant as it is.
pub(super) fn readings(path: &str, pattern: &str) -> BTreeMap<String, Way> {
    let kinds = segments(pattern, true);
    let spelled = |place: usize| kinds.get(place).is_some_and(|kind| !kind.starts_with('{'));
    let mut compared = BTreeSet::from([path.to_owned()]);
    for _ in 0..3 {
        let steps = [decoded, spaced, without_dots, without_parameters, slashed, merged, trimmed, normalized];
        let more: Vec<String> = compared.iter().flat_map(|path| steps.iter().map(move |step| step(path))).collect();
        compared.extend(more);
    }
    let mut found: BTreeMap<String, Way> = compared.iter().map(|path| (path.clone(), Way::Compared)).collect();
    let mut add = |path: String, way: Way| {
        let known = found.entry(path).or_insert(way);
        *known = way.min(*known);
    };
    let last = segments(path, true).len().checked_sub(1);
    for path in &compared {
        if last.is_some_and(|last| !spelled(last)) {
            without_suffix(path).into_iter().for_each(|path| add(path, Way::Rewritten));
            folder(path).into_iter().for_each(|path| add(path, Way::Folder));
        }
        for path in without_scripts(path, spelled).into_iter().chain(scripts(path, spelled)) {
            without_suffix(&path).into_iter().chain(folder(&path)).for_each(|path| add(path, Way::Rewritten));
            add(path, Way::Rewritten);
        }
    }
    found
}

fn decoded(path: &str) -> String {
    percent_decode_str(path).decode_utf8_lossy().into_owned()
}

/// As `urldecode` of PHP.
fn spaced(path: &str) -> String {
    path.replace('+', " ")
}

/// RFC 3986 section 5.2.4.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

fn without_parameters(path: &str) -> String {
    let cut = |segment: &str| segment.split(';').next().unwrap_or_default().to_owned();
    path.split('/').map(cut).collect::<Vec<_>>().join("/")
}

fn slashed(path: &str) -> String {
    path.replace('\\', "/")
}

fn merged(path: &str) -> String {
    path.replace("//", "/")
}

fn trimmed(path: &str) -> String {
    let trim = |segment: &str| match segment {
        "." | ".." => segment.to_owned(),
        _ => segment.trim().trim_end_matches(['.', ' ']).to_owned(),
    };
    path.split('/').map(trim).collect::<Vec<_>>().join("/")
}

fn normalized(path: &str) -> String {
    path.nfkc().collect()
}

/// Without what follows one of the dots of the last segment.
fn without_suffix(path: &str) -> Vec<String> {
    let (path, slash) = path.strip_suffix('/').map_or((path, ""), |path| (path, "/"));
    let last = path.rfind('/').map_or(0, |slash| slash + 1);
    let dots = path[last..].match_indices('.').filter(|(dot, _)| *dot > 0);
    dots.map(|(dot, _)| format!("{}{slash}", &path[..last + dot])).collect()
}

/// The folder of an index file or a script.
fn folder(path: &str) -> Option<String> {
    let (folder, last) = path.strip_suffix('/').unwrap_or(path).rsplit_once('/')?;
    let last = last.to_lowercase();
    let answers = last == "index" || last.starts_with("index.") || last.starts_with("default.") || is_script(&last);
    answers.then(|| format!("{folder}/"))
}

/// What a framework sees of a path below a script: what follows it, or the path without it.
fn without_scripts(path: &str, is_spelled_out: impl Fn(usize) -> bool) -> Vec<String> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let behind =
        |at: usize| [&segments[at + 1..], &[&segments[..at], &segments[at + 1..]].concat()].map(|kept| format!("/{}", kept.join("/")));
    inner_scripts(&segments, is_spelled_out).flat_map(behind).collect()
}

/// The scripts that a server runs for a path below them.
fn scripts(path: &str, is_spelled_out: impl Fn(usize) -> bool) -> Vec<String> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    inner_scripts(&segments, is_spelled_out).map(|at| format!("/{}", segments[..=at].join("/"))).collect()
}

fn inner_scripts(segments: &[&str], is_spelled_out: impl Fn(usize) -> bool) -> impl Iterator<Item = usize> {
    let end = segments.iter().rposition(|segment| !segment.is_empty()).unwrap_or(0);
    (0..end).filter(move |at| !is_spelled_out(*at) && is_script(&segments[*at].to_lowercase()))
}

fn is_script(segment: &str) -> bool {
    [".php", ".cgi", ".aspx", ".jsp"].iter().any(|suffix| segment.strip_suffix(suffix).is_some_and(|stem| !stem.is_empty()))
}
