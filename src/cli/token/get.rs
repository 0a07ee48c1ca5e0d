//! `sealwright token get`: prints an access token for a script.

use std::{env, path::PathBuf, time::Duration};

use clap::{Args, ValueHint};
use serde::Serialize;

use super::{
    cache::{Cache, Wanted},
    credentials::{Credential, is_standard_input},
    unusable::Unusable,
};
use crate::{
    cli::{
        error::Error,
        output::{Output, say, warn},
    },
    client::{self, Credentials, Secret, SingleFetch, StoredToken},
    clock::{Clock, SystemClock},
    server::caller_text,
};

/// Time limit of a request.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// Time limit of a request while there is a valid token, which is printed if the issuer does not answer.
const RENEWAL_LIMIT: Duration = Duration::from_secs(3);
/// How long to wait for another process that requests the same token: for two of its requests, and then some.
const LOCK_LIMIT: Duration = Duration::from_secs(30);
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
        let secret = Credential::OF_CLIENT.read(self.secret_file.as_deref()).await?;
        let password = match &self.username {
            Some(_) => Some(Credential::OF_USER.read(self.password_file.as_deref()).await?),
            None => None,
        };
        let user = self.username.as_deref().zip(password.as_deref().map(String::as_str));
        let wanted = Wanted {
            issuer: &issuer,
            client: &self.client,
            secret: &secret,
            resource: self.resource.as_deref(),
            scopes: &self.scope,
            user,
        };
        let fetch = fetch(&wanted)?;
        let token = match self.cache(&wanted) {
            Some(cache) => cached_or_new(&cache, &fetch, &SystemClock).await?,
            None => fetch.token(None, REQUEST_LIMIT, &SystemClock).await.map_err(Error::NoToken)?,
        };
        self.print(&token)
    }

    /// Refuses a secret in an argument. There by mistake, it would be sent as the name of a client, or shown as the name of a file.
    fn require_no_secret(&self) -> Result<(), Error> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        let arguments = [
            ("issuer", text(&self.issuer)),
            ("client", self.client.clone()),
            ("secret-file", path(&self.secret_file)),
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

    /// The cache, unless it is off or cannot be used. Without it, a script still gets its token: no other user can stop it by putting something
    /// in the place of the folder.
    fn cache(&self, wanted: &Wanted<'_>) -> Option<Cache> {
        if self.no_cache {
            return None;
        }
        Cache::open(wanted).inspect_err(|why| warn(&format!("the token is not cached: {why}"))).ok()
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

fn fetch(wanted: &Wanted<'_>) -> Result<SingleFetch, client::BuildError> {
    let secret = Secret::value(wanted.secret);
    let builder = match wanted.user {
        Some((username, password)) => Credentials::password(wanted.client, secret, username, Secret::value(password)),
        None => Credentials::client(wanted.client, secret),
    };
    let builder = builder.issuer(wanted.issuer).scopes(wanted.scopes);
    match wanted.resource {
        Some(resource) => builder.resource(resource),
        None => builder,
    }
    .single_fetch()
}

/// The cached token, or a new one if four fifths of its life have passed. Of several processes, one requests the new token.
async fn cached_or_new(cache: &Cache, fetch: &SingleFetch, clock: &dyn Clock) -> Result<StoredToken, Error> {
    let not_used = |why: Unusable| {
        warn(&format!("the cached token is not used: {why}"));
        None
    };
    let valid = cache.read().unwrap_or_else(not_used).filter(|token| token.is_valid(clock.now()));
    let valid = match valid {
        Some(token) if !token.is_due(clock.now()) => return Ok(token),
        valid => valid,
    };
    // A process that has a valid token does not wait for the one that requests another.
    let limit = if valid.is_some() { Duration::ZERO } else { LOCK_LIMIT };
    let lock = match (cache.lock(limit, clock).await, valid) {
        (Ok(Some(lock)), _) => Some(lock),
        (Ok(None), Some(token)) => return Ok(token),
        (Ok(None), None) => {
            let limit = LOCK_LIMIT.as_secs();
            warn(&format!("another process has held the lock of this token for {limit} s: this one requests a token of its own"));
            None
        }
        (Err(why), _) => {
            warn(&format!("the cache cannot be locked: {why}"));
            None
        }
    };
    // Another process may have stored one before it released the lock.
    let stored = cache.read().unwrap_or_default();
    let is_valid = |token: &StoredToken| token.is_valid(clock.now());
    if let Some(token) = stored.as_ref().filter(|token| is_valid(token) && !token.is_due(clock.now())) {
        return Ok(token.clone());
    }
    let limit = if stored.as_ref().is_some_and(is_valid) { RENEWAL_LIMIT } else { REQUEST_LIMIT };
    // Without the lock, another process may be using the refresh token.
    let previous = stored.as_ref().filter(|_| lock.is_some());
    let fetched = fetch.token(previous, limit, clock).await;
    let token = match (fetched, stored.filter(is_valid)) {
        (Ok(token), _) => {
            if let Err(why) = cache.write(&token, clock.now()) {
                warn(&format!("the token is not cached: {why}"));
            }
            token
        }
        // A good token is never replaced with an error.
        (Err(error), Some(token)) => {
            let left = token.expires_in(clock.now()).as_secs();
            warn(&format!("the token is from the cache and expires in {left} s, because there is no new one: {error}"));
            token
        }
        (Err(error), None) => return Err(Error::NoToken(error)),
    };
    drop(lock);
    Ok(token)
}
