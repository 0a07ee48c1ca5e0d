//! `sealwright token`: what a token says, and whether it is genuine.

mod inspect;
mod verify;

use std::io::{self, Read};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{SettingFlags, error::Error};
use crate::server::caller_text;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print what a token says, without checking whether it is genuine
    Inspect(inspect::Inspect),
    /// Check a token as an API would, and print each check in order
    Verify(verify::Verify),
}

impl Command {
    pub(super) async fn run(self, settings: SettingFlags) -> Result<(), Error> {
        match self {
            Self::Inspect(inspect) => inspect.run(),
            Self::Verify(verify) => verify.run(settings).await,
        }
    }
}

#[derive(Debug, Args)]
struct TokenArgument {
    /// The token, or - to read it, or the whole answer of the token endpoint, from standard input
    token: String,
}

/// Bytes that are read from standard input at most; a token is far smaller.
const INPUT_LIMIT: u64 = 64 * 1024;

impl TokenArgument {
    fn read(&self) -> Result<String, Error> {
        let token = if self.token == "-" { read_token()? } else { self.token.clone() };
        Ok(token.trim().to_owned())
    }
}

/// A token from standard input, on its own or within the token endpoint's answer.
fn read_token() -> Result<String, Error> {
    let mut text = String::new();
    io::stdin().lock().take(INPUT_LIMIT).read_to_string(&mut text).map_err(Error::Input)?;
    let Ok(Value::Object(answer)) = serde_json::from_str::<Value>(&text) else { return Ok(text) };
    match answer.get("access_token").and_then(Value::as_str) {
        Some(token) => Ok(token.to_owned()),
        None if answer.contains_key("error") => Err(Error::NoToken("it is the token endpoint's refusal, without an access_token")),
        None => Err(Error::NoToken("it is JSON without an access_token")),
    }
}

/// A token is somebody else's text: what could move the cursor or turn the line around is shown as an escape.
fn harmless(text: &str) -> String {
    caller_text::printable(text).into_owned()
}
