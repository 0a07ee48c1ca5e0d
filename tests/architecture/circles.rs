//! No circle of files: what a file uses, directly or through others, never uses that file.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};

use crate::{
    imports::{module_of, resolve},
    source::{Finding, Source, is_mark, line_of},
};

type Module = Vec<String>;

/// The files, and the items that modules re-export.
struct Crate<'a> {
    files: BTreeMap<Module, &'a Source>,
    /// The path of each re-exported item, by the module and the name under which it is re-exported.
    exports: BTreeMap<(Module, String), Module>,
}

/// The circles of files, one finding each.
///
/// A path counts for the file that defines its item, so a re-export in `mod.rs` is followed and is not a use itself. A use of an ancestor's
/// `mod.rs` does not count: it holds what its files share. Tests do not count.
pub(crate) fn circles(sources: &[Source]) -> Vec<Finding> {
    let files = sources.iter().filter(|source| !is_root(source)).map(|source| (module_of(&source.path), source)).collect();
    let mut krate = Crate { files, exports: BTreeMap::new() };
    for source in sources {
        let module = if is_root(source) { Vec::new() } else { module_of(&source.path) };
        for (name, path) in re_exports(source) {
            if let Some(target) = krate.absolute(&module, &path) {
                krate.exports.insert((module.clone(), name), target);
            }
        }
    }
    let uses: BTreeMap<&str, BTreeMap<&str, usize>> =
        krate.files.values().map(|source| (source.path.as_str(), krate.uses(source))).collect();
    let mut found = Vec::new();
    let mut reported = BTreeSet::new();
    for file in uses.keys().copied() {
        let circle: BTreeSet<&str> = reachable(file, &uses).into_iter().filter(|other| reachable(other, &uses).contains(file)).collect();
        if circle.len() > 1 && reported.insert(circle.clone()) {
            let next = uses[file].iter().find(|(other, _)| circle.contains(*other));
            let line = next.map_or(1, |(_, line)| *line);
            let members: Vec<&str> = circle.into_iter().collect();
            let what = format!("a circle of files: {}: move what two of them share into a file of its own", members.join(", "));
            found.push(Finding { path: file.to_owned(), line, what });
        }
    }
    found
}

/// The files that are only the roots of crates.
fn is_root(source: &Source) -> bool {
    matches!(source.path.as_str(), "src/lib.rs" | "src/main.rs")
}

/// The files that `file` uses, directly or through others.
fn reachable<'a>(file: &'a str, uses: &BTreeMap<&'a str, BTreeMap<&'a str, usize>>) -> BTreeSet<&'a str> {
    let (mut seen, mut left) = (BTreeSet::new(), vec![file]);
    while let Some(next) = left.pop() {
        left.extend(uses[next].keys().copied().filter(|other| seen.insert(*other)));
    }
    seen
}

impl<'a> Crate<'a> {
    /// The other files that a file uses, each with the line of the first use.
    fn uses(&self, source: &'a Source) -> BTreeMap<&'a str, usize> {
        let module = module_of(&source.path);
        let exported: BTreeSet<Vec<String>> = re_exports(source).into_iter().map(|(_, path)| path).collect();
        let mut uses = BTreeMap::new();
        for path in source.paths() {
            if path.segments.len() < 2 || exported.contains(&path.segments) || path.inside.iter().any(|module| module == "tests") {
                continue;
            }
            let target = resolve(&module, &path).or_else(|| self.absolute(&module, &path.segments));
            let Some(file) = target.and_then(|target| self.file_of(&target, 0)) else { continue };
            let ancestor = file.path.strip_suffix("mod.rs").is_some_and(|folder| source.path.starts_with(folder));
            if file.path != source.path && !ancestor {
                uses.entry(file.path.as_str()).or_insert(path.line);
            }
        }
        uses
    }

    /// The path from the crate's root that `path` has in `module`, unless it leads out of the crate.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Module> {
        let mut base = module.to_vec();
        let mut path = path;
        match path[0].as_str() {
            "crate" => base.clear(),
            "self" | "super" => {}
            child => {
                base.push(child.to_owned());
                let is_module = self.files.contains_key(&base);
                base.pop();
                if !is_module {
                    return None;
                }
            }
        }
        while let [first, rest @ ..] = path {
            match first.as_str() {
                "super" => drop(base.pop()),
                "crate" | "self" => {}
                _ => break,
            }
            path = rest;
        }
        base.extend(path.iter().cloned());
        Some(base)
    }

    /// The file that defines the item at `path`.
    fn file_of(&self, path: &[String], depth: usize) -> Option<&'a Source> {
        let mut module = Vec::new();
        for (at, segment) in path.iter().enumerate() {
            if let Some(target) = self.exports.get(&(module.clone(), segment.clone())).filter(|_| depth < 10) {
                let target = [target, &path[at + 1..]].concat();
                // An item and a module may have the same name: `client::client`.
                if target != path {
                    return self.file_of(&target, depth + 1);
                }
            }
            module.push(segment.clone());
            if !self.files.contains_key(&module) && !self.files.keys().any(|file| file.starts_with(&module)) {
                module.pop();
                break;
            }
        }
        self.files.get(&module).copied()
    }
}

/// What a file re-exports: the name, and the path as it is written.
fn re_exports(source: &Source) -> Vec<(String, Vec<String>)> {
    let tokens: Vec<TokenTree> = source.tokens.clone().into_iter().collect();
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let is_use = matches!(&tokens[at], TokenTree::Ident(word) if word == "use");
        let is_public =
            |before: usize| matches!(at.checked_sub(before).map(|at| &tokens[at]), Some(TokenTree::Ident(word)) if word == "pub");
        let restricted = matches!(at.checked_sub(1).map(|at| &tokens[at]), Some(TokenTree::Group(_))) && is_public(2);
        if is_use && (is_public(1) || restricted) {
            let tree = tokens[at + 1..].iter().take_while(|token| !is_mark(token, ';')).cloned().collect();
            read_tree(tree, &[], &mut found);
        }
    }
    found
}

fn read_tree(tree: TokenStream, prefix: &[String], found: &mut Vec<(String, Vec<String>)>) {
    let tokens: Vec<TokenTree> = tree.into_iter().collect();
    for branch in tokens.split(|token| is_mark(token, ',')).filter(|branch| !branch.is_empty()) {
        let mut path = prefix.to_vec();
        let mut name = None;
        let mut words = branch.iter();
        while let Some(token) = words.next() {
            match token {
                TokenTree::Ident(word) if word == "as" => name = words.next().map(ToString::to_string),
                TokenTree::Ident(word) => path.push(word.to_string()),
                TokenTree::Group(group) => {
                    read_tree(group.stream(), &path, found);
                    path.clear();
                }
                _ => {}
            }
        }
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        if let Some(last) = path.last().cloned() {
            found.push((name.unwrap_or(last), path));
        }
    }
}

/// What stands in the `mod.rs` of a public room besides docs, modules and re-exports.
pub(crate) fn code_on_a_front_page(source: &Source) -> Vec<Finding> {
    if !["src/client/mod.rs", "src/verifier/mod.rs", "src/verifier/testing/mod.rs"].contains(&source.path.as_str()) {
        return Vec::new();
    }
    let tokens: Vec<TokenTree> = source.tokens.clone().into_iter().collect();
    let mut rest = &tokens[..];
    let mut public = false;
    while let [first, after @ ..] = rest {
        let end = rest.iter().position(|token| is_mark(token, ';')).map_or(rest.len(), |end| end + 1);
        rest = match (first, after.first()) {
            (hash, Some(TokenTree::Group(_))) if is_mark(hash, '#') => &after[1..],
            (hash, Some(bang)) if is_mark(hash, '#') && is_mark(bang, '!') => after.get(2..).unwrap_or_default(),
            (TokenTree::Ident(word), next) if word == "pub" => {
                public = true;
                after.get(usize::from(matches!(next, Some(TokenTree::Group(_))))..).unwrap_or_default()
            }
            (TokenTree::Ident(word), _) if word == "mod" && after.get(1).is_some_and(|token| is_mark(token, ';')) => {
                public = false;
                &rest[end..]
            }
            (TokenTree::Ident(word), _) if word == "use" && public => {
                public = false;
                &rest[end..]
            }
            _ => {
                let what = "the `mod.rs` of a public room holds docs, modules and re-exports: move this into a file of its own";
                return vec![source.finding(line_of(first), what)];
            }
        };
    }
    Vec::new()
}

#[cfg(test)]
fn planted(files: &[(&str, &str)]) -> Vec<String> {
    let sources: Vec<Source> = files.iter().map(|(path, text)| Source::parse(path, text)).collect();
    circles(&sources).into_iter().map(|finding| format!("{}:{}", finding.path, finding.line)).collect()
}

#[test]
fn a_circle_of_files_is_caught_however_it_is_closed() {
    let room = ("src/room/mod.rs", "mod a; mod b; mod c; pub use a::A; pub(crate) use b::{B as Renamed};");
    for b in [
        "use super::a::A; pub struct B;",
        "use crate::room::A; pub struct B;",
        "use super::{A}; pub struct B;",
        "pub struct B; fn f(a: &super::a::A) {}",
        "pub struct B; fn f() { crate::room::a::f() }",
        "use super::c::C; pub struct B;",
    ] {
        let files = [
            room,
            ("src/room/a.rs", "use super::Renamed;\npub struct A;"),
            ("src/room/b.rs", b),
            ("src/room/c.rs", "use super::A; pub struct C;"),
        ];
        assert_eq!(planted(&files), ["src/room/a.rs:1"], "{b}");
    }
}

#[test]
fn files_without_a_circle_are_left_alone() {
    let files = [
        ("src/room/mod.rs", "mod a; mod b; pub use a::A; pub use b::B; use b::Hidden; pub struct Shared; fn f(_: Hidden) {}"),
        ("src/room/a.rs", "use super::{B, Shared}; pub struct A;"),
        ("src/room/b.rs", "use super::Shared; use std::fmt; pub struct B; #[cfg(test)] mod tests { use super::super::A; }"),
    ];
    assert_eq!(planted(&files), [""; 0]);
}

#[test]
fn code_in_the_mod_rs_of_a_public_room_is_caught() {
    let caught = |path: &str, text: &str| crate::source::caught(code_on_a_front_page, path, text);
    for text in
        ["struct S;", "fn f() {}", "use a::A;", "mod a { }", "const X: u8 = 1;", "pub(crate) static X: u8 = 1;", "impl S {}", "m! {}"]
    {
        assert_eq!(caught("src/verifier/mod.rs", &format!("//! Docs.\nmod a;\n{text}")), [3], "{text}");
        assert_eq!(caught("src/server/mod.rs", text), [0; 0]);
    }
    let plain =
        "//! Docs.\n#![x]\nmod a;\n#[cfg(feature = \"x\")]\npub mod b;\n#[doc(inline)]\npub use crate::c;\npub(crate) use a::{A, B as C};";
    assert_eq!(caught("src/client/mod.rs", plain), [0; 0]);
}
