use std::{
    fmt,
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    Error, Opening,
    postgres::{DatabaseTls, PostgresUrl},
};

/// The URL of the database. Printing it shows no password.
#[derive(Clone)]
pub(crate) enum DatabaseUrl {
    /// An SQLite file, absolute.
    Sqlite(PathBuf),
    /// A PostgreSQL server.
    Postgres(PostgresUrl),
}

/// Why a text is not a database URL. It shows no part of a password.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct InvalidUrl(String);

impl DatabaseUrl {
    pub(crate) const ALLOWED: &str = "sqlite://FILE (sqlite:///FILE for an absolute path) or postgres://USER:PASSWORD@HOST/DATABASE";

    /// Whether the URL itself holds a password.
    pub(crate) const fn has_password(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(url) => url.has_password(),
        }
    }

    /// Applies `tls` to remote servers, and refuses a URL that asks for less.
    pub(crate) fn secured(self, tls: DatabaseTls) -> Result<Self, InvalidUrl> {
        match self {
            Self::Sqlite(path) => Ok(Self::Sqlite(path)),
            Self::Postgres(url) => url.secured(tls).map(Self::Postgres).map_err(InvalidUrl),
        }
    }

    pub(super) fn sqlite_path(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }

    /// The URL for the drivers; contains the password.
    pub(super) fn to_connect(&self) -> String {
        const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_');
        match self {
            // The file exists by now, created with our own permissions: SQLite must not create one.
            Self::Sqlite(path) => format!("sqlite://{}?mode=rw", utf8_percent_encode(&path.to_string_lossy(), KEPT)),
            Self::Postgres(url) => url.to_connect(),
        }
    }
}

impl FromStr for DatabaseUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let refuse = |rule: &str| InvalidUrl(rule.to_owned());
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.starts_with(':') || path.contains(['?', '#', '\0']) || path.ends_with('/') {
                return Err(refuse("sqlite:// must be followed by the path of a file, without parameters"));
            }
            return std::path::absolute(path).map(Self::Sqlite).map_err(|_| refuse("the current directory does not exist"));
        }
        match text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://")) {
            Some(rest) => PostgresUrl::parse(rest).map(Self::Postgres).map_err(InvalidUrl),
            None => Err(refuse("it must begin with sqlite:// or postgres://")),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Postgres(url) => fmt::Display::fmt(url, f),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Checks that the database file can be opened, and creates it if `opening` says so, readable only by its owner (SQLite gives its log
/// files the same permissions).
pub(super) fn prepare_file(path: &Path, opening: Opening) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    if opening == Opening::CreateIfMissing {
        options.create(true);
    }
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && opening == Opening::Existing => Err(Error::NoFile),
        Err(error) => Err(Error::File(Arc::new(error))),
    }
}

/// Identifies the file that a path named when it was opened. A deleted or replaced file still works for the processes that have it open,
/// and for no others.
#[derive(Debug, Clone)]
pub(super) struct FileIdentity {
    path: PathBuf,
    identity: (u64, u64),
}

impl FileIdentity {
    pub(super) fn of(path: &Path) -> Result<Self, Error> {
        Ok(Self { path: path.to_owned(), identity: identity(path).map_err(|error| Error::File(Arc::new(error)))? })
    }

    /// Fails if the path names another file now, or none.
    pub(super) fn require_same(&self) -> Result<(), Error> {
        if identity(&self.path).is_ok_and(|now| now == self.identity) { Ok(()) } else { Err(Error::Replaced) }
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;

    std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|_| (0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_url_shows_no_password() {
        let url: DatabaseUrl = "postgres://sw:hunter2@db.example:5433/sealwright?password=hunter3".parse().unwrap();
        assert_eq!(url.to_string(), "postgres://db.example:5433/sealwright");
        assert!(!format!("{url:?}").contains("hunter"));
    }

    #[test]
    fn a_database_url_names_a_file_or_a_server() {
        for valid in
            ["sqlite://sealwright.db", "sqlite:///var/lib/sealwright.db", "sqlite:a b.db", "sqlite:///tmp/a:b/c%d.db", "postgresql://h/d"]
        {
            assert!(valid.parse::<DatabaseUrl>().is_ok(), "{valid}");
        }
        for invalid in ["", "sealwright.db", "sqlite:", "sqlite::memory:", "sqlite://a?mode=memory", "mysql://h/d", "postgres://h"] {
            assert!(invalid.parse::<DatabaseUrl>().is_err(), "{invalid}");
        }
    }
}
