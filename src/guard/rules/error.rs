use std::path::{Path, PathBuf};

/// Why a rule file is refused: the line, and what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", place(.path.as_deref(), *.line))]
pub(crate) struct RuleFileError {
    path: Option<PathBuf>,
    line: Option<usize>,
    reason: String,
}

impl RuleFileError {
    /// About one line, counted from 1.
    pub(super) fn at(line: usize, reason: impl Into<String>) -> Self {
        Self { path: None, line: Some(line), reason: reason.into() }
    }

    /// About the file as a whole.
    pub(super) fn whole(reason: impl Into<String>) -> Self {
        Self { path: None, line: None, reason: reason.into() }
    }

    pub(super) fn in_file(self, path: &Path) -> Self {
        Self { path: Some(path.to_owned()), ..self }
    }
}

fn place(path: Option<&Path>, line: Option<usize>) -> String {
    let line = line.map(|line| format!("line {line}"));
    match path.map(|path| format!("the rule file {}", path.display())) {
        Some(file) => [Some(file), line].into_iter().flatten().collect::<Vec<_>>().join(", "),
        None => line.unwrap_or_else(|| "the rules".to_owned()),
    }
}
