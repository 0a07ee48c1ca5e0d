//! The places from which secrets and private keys are read.

use std::{
    env::VarError,
    fmt,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use zeroize::Zeroizing;

/// A confidential text, or where it is stored. A file or a variable is read each time. `Debug` shows the place, never the text.
#[derive(Clone)]
pub(super) enum Place {
    Value(Arc<Zeroizing<String>>),
    File(PathBuf),
    Env(String),
}

impl Place {
    pub(super) fn value(text: String) -> Self {
        Self::Value(Arc::new(Zeroizing::new(text)))
    }

    /// Reads the text, which has at most `longest` bytes in a file. The error says why that failed, without the text.
    pub(super) async fn read(&self, longest: usize) -> Result<Zeroizing<String>, String> {
        let text = match self {
            Self::Value(text) => Zeroizing::clone(text),
            // A value that is not Unicode must not be shown: it may still be the secret.
            Self::Env(name) => std::env::var(name).map(Zeroizing::new).map_err(|error| match error {
                VarError::NotPresent => format!("the variable {name} is not set"),
                VarError::NotUnicode(_) => format!("the variable {name} is not UTF-8"),
            })?,
            Self::File(path) => {
                let (path, shown) = (path.clone(), path.display().to_string());
                let read = tokio::task::spawn_blocking(move || read_file(&path, longest)).await;
                read.map_err(|error| error.to_string()).and_then(|read| read).map_err(|reason| format!("{shown}: {reason}"))?
            }
        };
        if text.is_empty() { Err(format!("{self} is empty")) } else { Ok(text) }
    }
}

fn read_file(path: &Path, longest: usize) -> Result<Zeroizing<String>, String> {
    let reason = |error: io::Error| error.to_string();
    // Reading a pipe or a device may block forever.
    if !std::fs::metadata(path).map_err(reason)?.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    // With full capacity from the start, because growing would leave copies in memory.
    let mut text = Zeroizing::new(String::with_capacity(longest + 3));
    std::fs::File::open(path).and_then(|file| file.take(longest as u64 + 3).read_to_string(&mut text)).map_err(reason)?;
    let len = text.trim_end_matches(['\n', '\r']).len();
    text.truncate(len);
    match text.len() {
        len if len <= longest && text.starts_with('\u{feff}') => {
            Err("it begins with a byte order mark, which cannot be part of it".to_owned())
        }
        len if len <= longest => Ok(text),
        _ => Err(format!("it is longer than {longest} bytes, the maximum")),
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(_) => f.write_str("value"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Env(name) => write!(f, "variable {name}"),
        }
    }
}
