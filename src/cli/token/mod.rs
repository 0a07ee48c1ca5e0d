//! `sealwright token`: gets, shows, verifies and revokes access tokens.

mod cache;
#[cfg(unix)]
mod cache_folder;
#[cfg(not(unix))]
#[path = "no_cache_folder.rs"]
mod cache_folder;
mod credentials;
mod get;
mod inspect;
mod revoke;
mod unusable;
mod verify;

use std::io::{self, Read};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{SettingFlags, error::Error};
use crate::server::caller_text;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Get an access token for a script, from the cache or from the issuer
    Get(get::Get),
    /// Print the content of a token without verifying it
    Inspect(inspect::Inspect),
    /// Verify a token as an API would, and print each check in order
    Verify(verify::Verify),
    /// Revoke an access token: a client's own alone, a user's by ending its login
    Revoke(revoke::Revoke),
}

impl Command {
    pub(super) async fn run(self, settings: SettingFlags) -> Result<(), Error> {
        match self {
            Self::Get(get) => get.run().await,
            Self::Inspect(inspect) => inspect.run(),
            Self::Verify(verify) => verify.run(settings).await,
            Self::Revoke(revoke) => revoke.run(settings).await,
        }
    }
}

#[derive(Debug, Args)]
struct TokenArgument {
    /// The token; - reads it, or the token endpoint's whole response, from standard input
    token: String,
}

/// Maximum number of bytes read from standard input; a token is far smaller.
const INPUT_LIMIT: u64 = 64 * 1024;

impl TokenArgument {
    fn read(&self) -> Result<String, Error> {
        let token = if self.token == "-" { read_token()? } else { self.token.clone() };
        Ok(token.trim().to_owned())
    }
}

/// Reads a token from standard input, either alone or within the token endpoint's response.
fn read_token() -> Result<String, Error> {
    let mut text = String::new();
    io::stdin().lock().take(INPUT_LIMIT).read_to_string(&mut text).map_err(Error::Input)?;
    let Ok(Value::Object(answer)) = serde_json::from_str::<Value>(&text) else { return Ok(text) };
    match answer.get("access_token").and_then(Value::as_str) {
        Some(token) => Ok(token.to_owned()),
        None if answer.contains_key("error") => {
            Err(Error::NotAToken("it is an error response of the token endpoint, without an access_token"))
        }
        None => Err(Error::NotAToken("it is JSON without an access_token")),
    }
}

/// Escapes characters of a token that could control the terminal: a token comes from others.
fn printable(text: &str) -> String {
    caller_text::printable(text).into_owned()
}
