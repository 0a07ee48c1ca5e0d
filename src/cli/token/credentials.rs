//! Where `token get` reads secrets from: a file, standard input, or a variable. Never an argument, which other users can see.

use std::{
    env,
    io::{self, IsTerminal},
    path::Path,
};

use zeroize::Zeroizing;

use crate::{
    cli::{
        error::Error,
        first_line::{first_line, is_standard_input},
    },
    client::{PrivateKey, Secret},
    server::{
        config::{CLIENT_SECRET, USER_PASSWORD},
        custody::{self, SecretFile},
    },
};

/// Maximum length of a secret in bytes, as in a file.
const MAX_LEN: usize = 4096;

/// A secret that a token request needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Credential {
    what: &'static str,
    /// The option that names its file.
    option: &'static str,
    variable: &'static str,
}

impl Credential {
    pub(super) const OF_CLIENT: Self = Self { what: "the client's secret", option: "secret-file", variable: CLIENT_SECRET };
    pub(super) const OF_USER: Self = Self { what: "the user's password", option: "password-file", variable: USER_PASSWORD };

    /// Reads it from its file, if one is given, and otherwise from its variable.
    pub(super) async fn read(self, file: Option<&Path>) -> Result<Zeroizing<String>, Error> {
        let Self { what, option, variable } = self;
        let secret = match file {
            Some(file) if is_standard_input(file) => return self.read_input(),
            Some(file) => {
                custody::require_private(SecretFile::Value, file)?;
                Secret::file(file)
            }
            // An empty variable is one that is not set.
            None if env::var_os(variable).is_none_or(|value| value.is_empty()) => {
                return Err(Error::NoCredential { what, option, variable });
            }
            None => Secret::env(variable),
        };
        secret.read().await.map_err(|why| Error::Credential { what, why })
    }

    /// Reads the first line of standard input. On a terminal, asks for it without echo.
    fn read_input(self) -> Result<Zeroizing<String>, Error> {
        let refuse = |why: &str| Err(Error::Credential { what: self.what, why: why.to_owned() });
        let line = if io::stdin().is_terminal() {
            let typed = Zeroizing::new(rpassword::prompt_password(format!("{}: ", self.what)).map_err(Error::Input)?.into_bytes());
            (typed.len() <= MAX_LEN).then_some(typed)
        } else {
            first_line(MAX_LEN)?
        };
        let Some(line) = line else {
            return refuse("the first line of standard input is longer than 4096 bytes, the maximum for a secret");
        };
        match std::str::from_utf8(&line) {
            Err(_) => refuse("standard input is not UTF-8"),
            Ok("") => refuse("the first line of standard input is empty"),
            Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        }
    }
}

/// Reads the file of a private key.
pub(super) async fn read_key(file: &Path) -> Result<Zeroizing<String>, Error> {
    custody::require_private(SecretFile::PrivateKey, file)?;
    PrivateKey::file(file).read().await.map_err(|why| Error::Credential { what: "the client's private key", why })
}
