//! How long files may be and what they may be called.

use crate::source::{File, Finding};

const LIMIT: usize = 400;

/// Whether a package manager writes the file: it is not read from top to bottom, and its digests are no words.
pub(crate) fn is_lock_file(file: &File) -> bool {
    ["Cargo.lock", "go.sum", "package-lock.json"].contains(&file.path.rsplit('/').next().unwrap_or_default())
}

pub(crate) fn too_long(file: &File) -> Option<Finding> {
    let lines = file.text.lines().count();
    let what = format!("{lines} lines, and {LIMIT} are allowed: it holds two things, give each a file");
    (lines > LIMIT && !is_lock_file(file)).then(|| Finding { path: file.path.clone(), line: LIMIT + 1, what })
}

/// Names that say nothing of what is inside, so that anything ends up there.
const EMPTY_NAMES: [&str; 12] =
    ["common", "handler", "handlers", "helper", "helpers", "manager", "managers", "misc", "service", "services", "util", "utils"];

pub(crate) fn named_after_nothing(file: &File) -> Option<Finding> {
    let mut names = file.path.split('/').map(|name| name.strip_suffix(".rs").unwrap_or(name));
    let name = names.find(|name| EMPTY_NAMES.contains(name))?;
    let what = format!("`{name}` says nothing: call it after the noun that it is about");
    Some(Finding { path: file.path.clone(), line: 1, what })
}

fn file(path: &str, lines: usize) -> File {
    File { path: path.to_owned(), text: "\n".repeat(lines) }
}

#[test]
fn a_long_file_is_caught() {
    assert!(too_long(&file("src/server/mod.rs", 401)).is_some());
    assert!(too_long(&file("tests/run", 401)).is_some());
    assert!(too_long(&file("src/server/mod.rs", 400)).is_none());
    assert!(too_long(&file("tests/e2e/Cargo.lock", 4000)).is_none());
}

#[test]
fn a_name_that_says_nothing_is_caught() {
    for path in ["src/utils.rs", "src/server/helper.rs", "src/common/mod.rs", "src/server/key_ring/manager.rs", "src/service/a/b.rs"] {
        assert!(named_after_nothing(&file(path, 1)).is_some(), "{path}");
    }
    assert!(named_after_nothing(&file("src/server/keys/ring.rs", 1)).is_none());
}
