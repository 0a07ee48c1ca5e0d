//! Links within the repository: README, `docs/`, the other Markdown files, and rustdoc.

use std::path::{Component, Path, PathBuf};

use crate::source::{self, File, Finding};

/// A link to a file of the repository, or to a place in one.
struct Link<'a> {
    line: usize,
    target: &'a str,
}

/// The links of a file that lead to a missing file or heading.
pub(crate) fn broken(file: &File) -> Vec<Finding> {
    let in_rust = file.path.ends_with(".rs");
    if !in_rust && !file.path.ends_with(".md") {
        return Vec::new();
    }
    let text = if in_rust { doc_comments(&file.text) } else { file.text.clone() };
    let folder = if in_rust { rustdoc_folder(&file.path) } else { parent(Path::new(&file.path)) };
    let links = links(&text).into_iter().filter(|link| !in_rust || is_path(link.target));
    let findings = links.filter_map(|link| {
        let what = objection(&folder, file, link.target)?;
        Some(Finding { path: file.path.clone(), line: link.line, what })
    });
    findings.collect()
}

/// What is wrong with a link to `target` in the file `from`, whose readers see it in `folder`.
fn objection(folder: &Path, from: &File, target: &str) -> Option<String> {
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let page = if path.is_empty() {
        from.text.clone()
    } else {
        let path = normalized(&folder.join(path));
        if !Path::new(env!("CARGO_MANIFEST_DIR")).join(&path).exists() {
            return Some(format!("the link `{target}` leads to {}, which does not exist", path.display()));
        }
        anchor.map(|_| source::file(&path.to_string_lossy()).text).unwrap_or_default()
    };
    let missing = anchor.is_some_and(|anchor| !anchors(&page).contains(&anchor.to_owned()));
    missing.then(|| format!("the link `{target}` leads to a heading that does not exist"))
}

/// In rustdoc, a link to an item is checked by rustdoc itself; one with a path or a file's ending is for here.
fn is_path(target: &str) -> bool {
    target.contains('/') || target.ends_with(".md")
}

/// The doc comments of a Rust file, line by line, without their marks.
fn doc_comments(text: &str) -> String {
    let line = |line: &str| {
        let line = line.trim_start();
        line.strip_prefix("//!").or_else(|| line.strip_prefix("///")).unwrap_or_default().to_owned() + "\n"
    };
    text.lines().map(line).collect()
}

/// Where rustdoc puts the page of a module, in a checkout that builds in `target`.
fn rustdoc_folder(path: &str) -> PathBuf {
    let module = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let root = Path::new("target/doc/sealwright");
    if module == "lib" { root.to_owned() } else { root.join(module) }
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or_else(|| Path::new("")).to_owned()
}

/// The path without `.` and `..`, which may lead through folders that a build has yet to make.
fn normalized(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                parts.pop();
            }
            Component::CurDir => {}
            part => parts.push(part),
        }
    }
    parts
}

/// `[text](target)` and `[name]: target`, outside of code; links to other hosts are left out.
fn links(text: &str) -> Vec<Link<'_>> {
    let mut found = Vec::new();
    // Code between backticks may go on in the next line of its paragraph.
    let mut in_code = false;
    for (line, number) in outside_of_blocks(text) {
        in_code &= !line.trim().is_empty();
        for (at, _) in line.match_indices("](") {
            let target = line[at + 2..].split(')').next().unwrap_or_default();
            let is_code = in_code == ends_in_text(&line[..at]);
            if !is_code {
                found.push(Link { line: number, target: target.trim() });
            }
        }
        in_code ^= !ends_in_text(line);
        if let Some((_, target)) = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
            found.push(Link { line: number, target: target.trim() });
        }
    }
    found.retain(|link| !link.target.contains("://") && !link.target.starts_with("mailto:"));
    found
}

/// The lines that stand in no block of code, with their numbers.
fn outside_of_blocks(text: &str) -> Vec<(&str, usize)> {
    let mut in_block = false;
    let mut lines = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            lines.push((line, number));
        }
    }
    lines
}

/// Whether the text closes as many spans of code as it opens.
fn ends_in_text(text: &str) -> bool {
    text.matches('`').count().is_multiple_of(2)
}

/// The anchors of a page as GitHub makes them of its headings.
fn anchors(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for (line, _) in outside_of_blocks(text) {
        let heading = line.trim_start_matches('#');
        if heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let kept = heading.trim().chars().filter(|letter| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter));
        let anchor: String = kept.map(|letter| if letter == ' ' { '-' } else { letter.to_ascii_lowercase() }).collect();
        let numbered = |number: usize| if number == 0 { anchor.clone() } else { format!("{anchor}-{number}") };
        let free = (0..).map(numbered).find(|candidate| !anchors.contains(candidate));
        anchors.extend(free);
    }
    anchors
}

#[test]
fn a_broken_link_is_caught() {
    let found = |path: &str, text: &str| broken(&File { path: path.to_owned(), text: text.to_owned() }).len();
    for (path, text) in [
        ("README.md", "[a](docs/no-such-page.md)"),
        ("README.md", "[a](docs/operating.md#no-such-heading)"),
        ("README.md", "[a](#no-such-heading)"),
        ("README.md", "`code` and [`b`](no-such-file.rs)"),
        ("README.md", "[a]: no-such-file.md"),
        ("README.md", "`code that goes\non` and [a](no-such-file.md)"),
        ("docs/operating.md", "[a](docs/operating.md)"),
        ("src/lib.rs", "//! [a](../../../docs/no-such-page.md)"),
        ("src/lib.rs", "    /// [a](docs/architecture.md)"),
        ("src/client/mod.rs", "//! [a](../../../docs/architecture.md)"),
    ] {
        assert_eq!(found(path, text), 1, "{path}: {text}");
    }
    for (path, text) in [
        ("README.md", "[a](docs/operating.md#tls-or-a-proxy), [`b`](openapi.yaml) and [c](https://example.com/no-such-page)"),
        ("README.md", "# A heading\n[a](#a-heading)\n```\n[a](no-such-file)\n```\n`[a](no-such-file)`"),
        ("README.md", "`[a](no-such-file)\n[a](no-such-file)`"),
        ("docs/operating.md", "[a](../README.md), [b](configuration.md#limits)"),
        ("src/lib.rs", "//! [a](../../../docs/architecture.md#recipes), [b](crate::clock), [`c`]"),
        ("src/client/mod.rs", "//! [a](../../../../docs/architecture.md)"),
        ("src/lib.rs", "let text = \"[a](no/such/file)\";"),
    ] {
        assert_eq!(found(path, text), 0, "{path}: {text}");
    }
}

#[test]
fn anchors_are_made_as_on_github() {
    let page = "# Signing in\n## What's checked, and how?\n### `sub` of a token\n## Signing in\n```\n# no heading\n```\n#no heading";
    assert_eq!(anchors(page), ["signing-in", "whats-checked-and-how", "sub-of-a-token", "signing-in-1"]);
}
