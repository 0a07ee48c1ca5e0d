/// A setting. It is set with `--its-name`, with `SEALWRIGHT_ITS_NAME` (or what the variables of its program begin with), or with `its_name`
/// in the file.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Setting {
    /// Its name in the file.
    pub name: &'static str,
    /// Its purpose, in a phrase.
    pub help: &'static str,
    /// The allowed values, in words.
    pub allowed: &'static str,
    /// Its default. If there is none, `help` describes what happens.
    pub default: Option<&'static str>,
    /// Whether its value must not be shown. Such a setting has no flag, because other users can read a command line.
    pub secret: bool,
    /// Whether it is a list of words, separated by spaces. Its flag may be repeated, and in the file it may be an array.
    pub list: bool,
}

pub(crate) const fn setting(name: &'static str, default: Option<&'static str>, help: &'static str, allowed: &'static str) -> Setting {
    Setting { name, help, allowed, default, secret: false, list: false }
}

impl Setting {
    /// The same setting as a list.
    pub(crate) const fn list(self) -> Self {
        Self { list: true, ..self }
    }

    /// Whether a value must not be shown: even an invalid URL may contain a password, in several places. Such a setting has a variable
    /// that names a file instead.
    pub(crate) fn may_be_secret(&self) -> bool {
        self.secret || self.name == "database_url"
    }

    /// Whether other users must not read this value.
    pub(super) fn holds_secret(&self, value: &str) -> bool {
        let user = value.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')).map_or("", |(user, _)| user);
        self.secret || self.name == "database_url" && (user.contains(':') || value.contains("password="))
    }
}
