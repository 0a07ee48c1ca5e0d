//! The files and modules that `docs/architecture.md` names.

use std::path::Path;

use crate::source::{File, Finding};

/// What a page puts between backticks as a file or a module, and what is not in the repository.
pub(crate) fn missing(file: &File) -> Vec<Finding> {
    let lines = file.text.lines().zip(1..);
    let names = lines.flat_map(|(text, line)| text.split('`').skip(1).step_by(2).map(move |name| (name, line)));
    let lost = names.filter(|(name, _)| is_file_or_module(name) && !exists(name));
    lost.map(|(name, line)| Finding { path: file.path.clone(), line, what: format!("`{name}` does not exist") }).collect()
}

/// Whether it is a path such as `http/front.rs` or `server/store`, or a module such as `server::http`. `Store::write` is neither, and
/// `issuer/<grant>.rs` stands for many.
fn is_file_or_module(name: &str) -> bool {
    let is_path = name.contains('/') || name.contains("::") || name.ends_with(".rs");
    is_path
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "/:._-".contains(c))
}

/// Whether it is there: below the crate's root, `src` or `src/server`.
fn exists(name: &str) -> bool {
    let path = name.replace("::", "/");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let candidates = ["", "src", "src/server"].map(|folder| root.join(folder).join(&path));
    candidates.iter().any(|candidate| candidate.exists() || candidate.with_extension("rs").exists())
}

#[test]
fn a_file_that_does_not_exist_is_caught() {
    let found = |text: &str| missing(&File { path: "docs/architecture.md".to_owned(), text: text.to_owned() }).len();
    for text in ["`http/no_such.rs`", "see `server::no_such_room` and", "`openapi.yaml`, `src/no_such.rs`", "a `tests/no_such`"] {
        assert_eq!(found(text), 1, "{text}");
    }
    for text in
        ["`http/front.rs`", "`server::http`", "`clock.rs`", "`tests/server`", "`issuer/<grant>.rs`", "`Store::write`", "no_such/file.rs"]
    {
        assert_eq!(found(text), 0, "{text}");
    }
}
