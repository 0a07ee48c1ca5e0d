//! Reads sources as tokens. Tokens rather than a syntax tree, because what stands in a macro's body is held to the rules too.

use std::{fmt, fs, path::Path};

use proc_macro2::{Delimiter, Group, Spacing, TokenStream, TokenTree};

/// A text file, its path from the crate's root with `/` on every system.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A Rust file.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) tokens: TokenStream,
}

/// What breaks a rule, where, and what to do about it.
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// A path that a source names, such as `crate::server::store::Error`.
pub(crate) struct Named {
    /// The modules within the file that it stands in, outermost first.
    pub(crate) inside: Vec<String>,
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
}

/// Every text file below `folder`, without what Cargo builds and npm installs there.
pub(crate) fn files_under(folder: &str) -> Vec<File> {
    fn gather(folder: &Path, path: &str, found: &mut Vec<File>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = format!("{path}/{name}");
            if entry.path().is_dir() {
                if name != "target" && name != "node_modules" {
                    gather(&entry.path(), &path, found);
                }
            } else if let Ok(text) = String::from_utf8(fs::read(entry.path()).unwrap()) {
                found.push(File { path, text });
            }
        }
    }
    let mut found = Vec::new();
    gather(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), folder, &mut found);
    assert!(!found.is_empty(), "{folder} is empty: a rule that sees no file holds nothing");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The file at `path`.
pub(crate) fn file(path: &str) -> File {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    File { path: path.to_owned(), text }
}

/// Every Rust file below `folder`.
pub(crate) fn sources_under(folder: &str) -> Vec<Source> {
    files_under(folder).iter().filter(|file| file.path.ends_with(".rs")).map(|file| Source::parse(&file.path, &file.text)).collect()
}

/// The lines to which `rule` objects in `text`, were it the file at `path`.
pub(crate) fn caught(rule: fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
    rule(&Source::parse(path, text)).iter().map(|finding| finding.line).collect()
}

impl Source {
    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let tokens = text.parse().unwrap_or_else(|error| panic!("{path} is not Rust: {error}"));
        Self { path: path.to_owned(), tokens }
    }

    pub(crate) fn finding(&self, line: usize, what: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, what: what.into() }
    }

    /// Every path that the file names, those of `use` trees written out. A word that stands alone is a path of one.
    pub(crate) fn paths(&self) -> Vec<Named> {
        let mut reader = PathReader { inside: Vec::new(), found: Vec::new() };
        reader.read(self.tokens.clone());
        reader.found
    }

    /// Calls `look` at every token, with it and all that follow it within the same brackets.
    pub(crate) fn scan(&self, mut look: impl FnMut(&[TokenTree])) {
        scan(self.tokens.clone(), &mut look);
    }
}

fn scan(tokens: TokenStream, look: &mut impl FnMut(&[TokenTree])) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        look(&tokens[at..]);
        if let TokenTree::Group(group) = token {
            scan(group.stream(), look);
        }
    }
}

/// Whether `token` is the punctuation mark `mark`.
pub(crate) fn is_mark(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == mark)
}

/// The line on which `token` begins.
pub(crate) fn line_of(token: &TokenTree) -> usize {
    token.span().start().line
}

struct PathReader {
    inside: Vec<String>,
    found: Vec<Named>,
}

impl PathReader {
    fn read(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut rest = &tokens[..];
        while let [_, after @ ..] = rest {
            rest = match rest {
                [TokenTree::Ident(word), TokenTree::Ident(name), TokenTree::Group(body), after @ ..] if word == "mod" => {
                    self.inside.push(name.to_string());
                    self.read(body.stream());
                    self.inside.pop();
                    after
                }
                [TokenTree::Ident(word), TokenTree::Group(whom), after @ ..] if word == "pub" && is_visibility(whom) => after,
                [TokenTree::Ident(_), ..] => self.read_path(rest, &[]),
                [TokenTree::Group(group), ..] => {
                    self.read(group.stream());
                    after
                }
                _ => after,
            };
        }
    }

    /// Reads the path that begins `rest`, below `prefix`, and returns what follows it.
    fn read_path<'a>(&mut self, mut rest: &'a [TokenTree], prefix: &[String]) -> &'a [TokenTree] {
        let line = line_of(&rest[0]);
        let mut segments = prefix.to_vec();
        segments.push(rest[0].to_string());
        rest = &rest[1..];
        while let [TokenTree::Punct(colon), second, next, after @ ..] = rest {
            if colon.as_char() != ':' || colon.spacing() != Spacing::Joint || !is_mark(second, ':') {
                break;
            }
            match next {
                TokenTree::Ident(name) => segments.push(name.to_string()),
                TokenTree::Group(tree) if tree.delimiter() == Delimiter::Brace => {
                    self.read_tree(tree, &segments);
                    return after;
                }
                _ if is_mark(next, '*') => segments.push("*".to_owned()),
                // `::<`: what stands between the angle brackets are paths of their own.
                _ => break,
            }
            rest = after;
        }
        self.found(segments, line);
        rest
    }

    /// Reads the braces of a `use` tree.
    fn read_tree(&mut self, tree: &Group, prefix: &[String]) {
        let tokens: Vec<TokenTree> = tree.stream().into_iter().collect();
        let mut rest = &tokens[..];
        while let [first, after @ ..] = rest {
            rest = match first {
                TokenTree::Ident(word) if word == "as" => after.get(1..).unwrap_or_default(),
                TokenTree::Ident(_) => self.read_path(rest, prefix),
                _ if is_mark(first, '*') => {
                    self.found([prefix, &["*".to_owned()]].concat(), line_of(first));
                    after
                }
                _ => after,
            };
        }
    }

    fn found(&mut self, mut segments: Vec<String>, line: usize) {
        // The `self` of `a::{self, b}` is `a`.
        if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
            segments.pop();
        }
        self.found.push(Named { inside: self.inside.clone(), segments, line });
    }
}

/// Whether `whom`, after `pub`, says to whom something is visible, rather than being the type of a tuple's field.
fn is_visibility(whom: &Group) -> bool {
    let words: Vec<TokenTree> = whom.stream().into_iter().collect();
    match &words[..] {
        [TokenTree::Ident(word)] => word == "crate" || word == "self" || word == "super",
        [TokenTree::Ident(word), ..] => word == "in",
        _ => false,
    }
}

#[test]
fn paths_are_found_wherever_they_stand() {
    let source = Source::parse(
        "src/any.rs",
        "use crate::{a::{self, b as c}, d::*};
         pub(in crate::hidden) struct S(pub (x::Y, u8));
         mod inner { use super::z; }
         fn f<T: p::Q>() -> r::S<t::U> { <v::W as k::X>::l; m!(n::o, $crate::q); g::h::<i::J>() }",
    );
    let paths: Vec<String> = source.paths().iter().map(|path| path.segments.join("::")).filter(|path| path.contains("::")).collect();
    let expected = [
        "crate::a",
        "crate::a::b",
        "crate::d::*",
        "x::Y",
        "super::z",
        "p::Q",
        "r::S",
        "t::U",
        "v::W",
        "k::X",
        "n::o",
        "crate::q",
        "g::h",
        "i::J",
    ];
    assert_eq!(paths, expected);
    assert_eq!(source.paths().iter().find(|path| path.segments[0] == "super").unwrap().inside, ["inner"]);
}
