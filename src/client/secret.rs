//! Secrets, and the places from which they are read.

use std::{
    env::VarError,
    fmt,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use zeroize::Zeroizing;

/// Maximum length of a secret in bytes. A larger file is the wrong file.
const MAX_LEN: usize = 4096;

/// A secret, or the place where it is stored. A file or variable is read for each token request, so a replaced secret takes effect without a
/// restart. `Debug` shows the place, never the secret.
#[derive(Clone)]
pub struct Secret(Place);

#[derive(Clone)]
enum Place {
    Value(Arc<Zeroizing<String>>),
    File(PathBuf),
    Env(String),
}

impl Secret {
    /// The secret itself. The copy held here is wiped from memory when the last handle is dropped.
    pub fn value(secret: impl Into<String>) -> Self {
        Self(Place::Value(Arc::new(Zeroizing::new(secret.into()))))
    }

    /// The content of a regular file, without a trailing line break: at most 4,096 bytes of UTF-8.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Place::File(path.into()))
    }

    /// The value of an environment variable.
    pub fn env(name: impl Into<String>) -> Self {
        Self(Place::Env(name.into()))
    }

    /// Reads the secret. The error says why that failed, without the secret.
    pub(crate) async fn read(&self) -> Result<Zeroizing<String>, String> {
        let secret = match &self.0 {
            Place::Value(secret) => Zeroizing::clone(secret),
            // A value that is not Unicode must not be shown: it may still be the secret.
            Place::Env(name) => std::env::var(name).map(Zeroizing::new).map_err(|error| match error {
                VarError::NotPresent => format!("the variable {name} is not set"),
                VarError::NotUnicode(_) => format!("the variable {name} is not UTF-8"),
            })?,
            Place::File(path) => {
                let (path, shown) = (path.clone(), path.display().to_string());
                let read = tokio::task::spawn_blocking(move || read_file(&path)).await;
                read.map_err(|error| error.to_string()).and_then(|read| read).map_err(|reason| format!("{shown}: {reason}"))?
            }
        };
        if secret.is_empty() { Err(format!("{self:?} is empty")) } else { Ok(secret) }
    }
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, String> {
    let reason = |error: io::Error| error.to_string();
    // Reading a pipe or a device may block forever.
    if !std::fs::metadata(path).map_err(reason)?.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    // With full capacity from the start, because growing would leave copies in memory.
    let mut secret = Zeroizing::new(String::with_capacity(MAX_LEN + 3));
    std::fs::File::open(path).and_then(|file| file.take(MAX_LEN as u64 + 3).read_to_string(&mut secret)).map_err(reason)?;
    let len = secret.trim_end_matches(['\n', '\r']).len();
    secret.truncate(len);
    match secret.len() {
        ..=MAX_LEN if secret.starts_with('\u{feff}') => {
            Err("it begins with a byte order mark, which cannot be part of a secret".to_owned())
        }
        ..=MAX_LEN => Ok(secret),
        _ => Err(format!("it is longer than {MAX_LEN} bytes, the maximum for a secret")),
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Value(_) => f.write_str("Secret(value)"),
            Place::File(path) => write!(f, "Secret(file {})", path.display()),
            Place::Env(name) => write!(f, "Secret(variable {name})"),
        }
    }
}
