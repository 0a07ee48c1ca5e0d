use std::{fmt, path::PathBuf};

use zeroize::Zeroizing;

use super::place::Place;

/// Maximum length of a secret in bytes. A larger file is the wrong file.
const MAX_LEN: usize = 4096;

/// A secret, or the place where it is stored. A file or variable is read for each token request, so a replaced secret takes effect without a
/// restart. `Debug` shows the place, never the secret.
#[derive(Clone)]
pub struct Secret(Place);

impl Secret {
    /// The secret itself. The copy held here is wiped from memory when the last handle is dropped.
    pub fn value(secret: impl Into<String>) -> Self {
        Self(Place::value(secret.into()))
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
        self.0.read(MAX_LEN).await
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.0)
    }
}
