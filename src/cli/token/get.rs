//! `sealwright token get`: prints an access token for a script.

use std::{env, path::PathBuf};

use clap::{Args, ValueHint};
use serde::Serialize;

use super::{
    cache::Cache,
    call::{Call, REQUEST_LIMIT},
    credentials::{Credential, read_key},
    wanted::{Wanted, WantedProof},
};
use crate::{
    cli::{
        error::Error,
        first_line::is_standard_input,
        output::{Output, say, warn},
    },
    client::StoredToken,
    clock::{Clock, SystemClock},
    server::caller_text,
};

/// The setting of the server that names the same thing.
const ISSUER: &str = "SEALWRIGHT_ISSUER";

#[derive(Debug, Args)]
pub(in crate::cli) struct Get {
    /// The issuer, as in its metadata; by default, the variable SEALWRIGHT_ISSUER
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// The client whose token it is
    #[arg(long, value_name = "ID")]
    client: String,
    /// The file of the client's secret; - is standard input; by default, the secret is in the variable SEALWRIGHT_CLIENT_SECRET
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    secret_file: Option<PathBuf>,
    /// The file of the client's private key, in PEM, for a client that has one instead of a secret
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "secret_file")]
    key_file: Option<PathBuf>,
    /// The API for which the token is; by default, the only one at which the client may have the scopes
    #[arg(long, value_name = "AUDIENCE")]
    resource: Option<String>,
    /// A scope token that it should carry; repeatable; by default, all that the client may have
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// Sign this user in, and print the user's token
    #[arg(long, value_name = "USERNAME")]
    username: Option<String>,
    /// The file of the user's password; - is standard input; by default, the password is in the variable SEALWRIGHT_USER_PASSWORD
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "username")]
    password_file: Option<PathBuf>,
    /// Request a new token, and do not store it
    #[arg(long)]
    no_cache: bool,
    /// Request a new token in place of the cached one, which an API has refused
    #[arg(long, conflicts_with = "no_cache")]
    renew: bool,
    /// Print the header `Authorization: Bearer ...`, for `curl -H @-`
    #[arg(long, conflicts_with = "json")]
    header: bool,
    #[command(flatten)]
    output: Output,
}

/// The token, with the names of RFC 6749 section 5.1.
#[derive(Serialize)]
struct View<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    scope: Option<&'a str>,
}

impl Get {
    pub(super) async fn run(self) -> Result<(), Error> {
        self.require_no_secret()?;
        let from_environment = || env::var(ISSUER).ok().filter(|issuer| !issuer.is_empty());
        let issuer = self.issuer.clone().or_else(from_environment).ok_or(Error::NoIssuer)?;
        if [&self.secret_file, &self.password_file].into_iter().all(|file| file.as_deref().is_some_and(is_standard_input)) {
            return Err(Error::OneInput);
        }
        let (proof, of): (_, fn(&str) -> WantedProof<'_>) = match &self.key_file {
            Some(file) => (read_key(file).await?, |text| WantedProof::Key(text)),
            None => (Credential::OF_CLIENT.read(self.secret_file.as_deref()).await?, |text| WantedProof::Secret(text)),
        };
        let password = match &self.username {
            Some(_) => Some(Credential::OF_USER.read(self.password_file.as_deref()).await?),
            None => None,
        };
        let user = self.username.as_deref().zip(password.as_deref().map(String::as_str));
        let wanted = Wanted {
            issuer: &issuer,
            client: &self.client,
            proof: of(&proof),
            resource: self.resource.as_deref(),
            scopes: &self.scope,
            user,
        };
        let fetch = wanted.fetch()?;
        let token = match self.cache(&wanted)? {
            Some(cache) => Call { wanted: &wanted, cache: &cache, fetch: &fetch, renew: self.renew, clock: &SystemClock }.token().await?,
            None => {
                let fetched = fetch.token(None, 0, REQUEST_LIMIT, &SystemClock).await;
                fetched.map_err(|failed| Error::NoToken(wanted.why_none(&failed.error)))?
            }
        };
        self.print(&token)
    }

    /// Refuses a secret in an argument. It would be sent as the name of a client, for example, or shown as the name of a file.
    fn require_no_secret(&self) -> Result<(), Error> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        let arguments = [
            ("issuer", text(&self.issuer)),
            ("client", self.client.clone()),
            ("secret-file", path(&self.secret_file)),
            ("key-file", path(&self.key_file)),
            ("resource", text(&self.resource)),
            ("scope", self.scope.join(" ")),
            ("username", text(&self.username)),
            ("password-file", path(&self.password_file)),
        ];
        match arguments.iter().find(|(_, value)| caller_text::holds_secret(value)) {
            Some(&(option, _)) => Err(Error::SecretInArgument(option)),
            None => Ok(()),
        }
    }

    /// The cache, unless it is off. If it cannot be used, a script still gets a token of its client: no other user can stop it by putting something
    /// in the place of the folder. A user's script does not: each call would begin a login, and a user may have only so many.
    fn cache(&self, wanted: &Wanted<'_>) -> Result<Option<Cache>, Error> {
        if self.no_cache {
            return Ok(None);
        }
        match Cache::open(wanted) {
            Ok(cache) => Ok(Some(cache)),
            Err(why) if wanted.user.is_some() => Err(Error::NeedsCache(why.to_string())),
            Err(why) => {
                warn(&format!("the token is not cached: {why}; or add --no-cache"));
                Ok(None)
            }
        }
    }

    fn print(&self, token: &StoredToken) -> Result<(), Error> {
        let access_token = token.access_token();
        if self.header {
            return say(&format!("Authorization: Bearer {access_token}"));
        }
        let expires_in = token.expires_in(SystemClock.now()).as_secs();
        let view = View { access_token, token_type: "Bearer", expires_in, scope: token.scope() };
        self.output.print(&view, |view| view.access_token.to_owned())
    }
}
