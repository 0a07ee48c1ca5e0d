//! Where a secret comes from, and how little of it is ever seen.

use std::{
    env::VarError,
    fmt,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use zeroize::Zeroizing;

/// Bytes of a secret at most; a larger file is the wrong file.
const MAX_LEN: usize = 4096;

/// A secret, or where it lies. A file or variable is read each time that a token is fetched, so that a secret that is replaced there is
/// used from then on. `Debug` shows where it comes from, never what it is.
#[derive(Clone)]
pub struct Secret(From);

#[derive(Clone)]
enum From {
    Value(Arc<Zeroizing<String>>),
    File(PathBuf),
    Env(String),
}

impl Secret {
    /// This very text. The copy that is made of it is wiped when the last handle goes.
    pub fn value(secret: impl Into<String>) -> Self {
        Self(From::Value(Arc::new(Zeroizing::new(secret.into()))))
    }

    /// What stands in this regular file, without a line break at its end: at most 4,096 bytes of UTF-8.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(From::File(path.into()))
    }

    /// What stands in this environment variable.
    pub fn env(name: impl Into<String>) -> Self {
        Self(From::Env(name.into()))
    }

    /// The secret as it is now; otherwise why there is none.
    pub(super) async fn read(&self) -> Result<Zeroizing<String>, String> {
        let secret = match &self.0 {
            From::Value(secret) => Zeroizing::clone(secret),
            // What is not Unicode must not be shown: it may be the secret all the same.
            From::Env(name) => std::env::var(name).map(Zeroizing::new).map_err(|error| match error {
                VarError::NotPresent => format!("the variable {name} is not set"),
                VarError::NotUnicode(_) => format!("the variable {name} is not UTF-8"),
            })?,
            From::File(path) => {
                let (path, shown) = (path.clone(), path.display().to_string());
                let read = tokio::task::spawn_blocking(move || read_file(&path)).await;
                read.map_err(|error| error.to_string()).and_then(|read| read).map_err(|why| format!("{shown}: {why}"))?
            }
        };
        if secret.is_empty() { Err(format!("{self:?} is empty")) } else { Ok(secret) }
    }
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, String> {
    let why = |error: io::Error| error.to_string();
    // Whatever else has a name there may never end, or never begin.
    if !std::fs::metadata(path).map_err(why)?.is_file() {
        return Err("it is no regular file".to_owned());
    }
    // As long as it may be, with a line break, so that growing leaves no copy behind.
    let mut secret = Zeroizing::new(String::with_capacity(MAX_LEN + 3));
    std::fs::File::open(path).and_then(|file| file.take(MAX_LEN as u64 + 3).read_to_string(&mut secret)).map_err(why)?;
    let line = secret.trim_end_matches(['\n', '\r']).len();
    secret.truncate(line);
    match secret.len() {
        ..=MAX_LEN if secret.starts_with('\u{feff}') => Err("it begins with a byte order mark, which is no part of a secret".to_owned()),
        ..=MAX_LEN => Ok(secret),
        _ => Err(format!("it is longer than {MAX_LEN} bytes, which no secret is")),
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            From::Value(_) => f.write_str("Secret(a value)"),
            From::File(path) => write!(f, "Secret(file {})", path.display()),
            From::Env(name) => write!(f, "Secret(variable {name})"),
        }
    }
}
