//! `sealwright token`: what a token says.

use std::io::{self, Read};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use clap::Subcommand;
use serde::Serialize;
use serde_json::Value;

use super::{
    error::Error,
    output::{Output, facts, rfc3339},
};
use crate::clock::Timestamp;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print what a token says, without checking whether it is genuine
    Inspect {
        /// The token, or - to read it, or the whole answer of the token endpoint, from standard input
        token: String,
        #[command(flatten)]
        output: Output,
    },
}

/// Bytes that are read from standard input at most; a token is far smaller.
const INPUT_LIMIT: u64 = 64 * 1024;

impl Command {
    pub(super) fn run(self) -> Result<(), Error> {
        let Self::Inspect { token, output } = self;
        let token = if token == "-" { read_token()? } else { token };
        let unverified = UnverifiedToken::read(token.trim())?;
        output.print(&unverified, UnverifiedToken::for_people)
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

/// What a token says of itself. Nobody has checked the signature.
#[derive(Serialize)]
struct UnverifiedToken {
    /// Always false: `inspect` does not check.
    verified: bool,
    header: serde_json::Map<String, Value>,
    claims: serde_json::Map<String, Value>,
}

impl UnverifiedToken {
    fn read(token: &str) -> Result<Self, Error> {
        let refuse = |why| Error::NoToken(why);
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, _signature] = parts[..] else {
            return Err(refuse("it does not have three parts with a dot between two of them"));
        };
        let read = |part: &str, why| {
            let json = BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| refuse(why))?;
            serde_json::from_slice(&json).map_err(|_| refuse(why))
        };
        Ok(Self {
            verified: false,
            header: read(header, "its first part is not a JSON object in base64url")?,
            claims: read(claims, "its second part is not a JSON object in base64url")?,
        })
    }

    fn for_people(&self) -> String {
        let row = |(name, value): (&String, &Value)| {
            let time = ["exp", "iat", "nbf", "auth_time"].contains(&name.as_str()).then(|| value.as_i64()).flatten();
            let shown = match (time, value) {
                (Some(seconds), _) => format!("{seconds}  {}", rfc3339(Timestamp::from_seconds(seconds))),
                (None, Value::String(text)) => text.clone(),
                (None, value) => value.to_string(),
            };
            (harmless(name), harmless(&shown))
        };
        let part = |members: &serde_json::Map<String, Value>| {
            let rows: Vec<_> = members.iter().map(row).collect();
            facts(rows.iter().map(|(name, value)| (name.as_str(), value.clone())))
        };
        format!("header\n{}\n\nclaims\n{}\n\nThe signature was not checked.", part(&self.header), part(&self.claims))
    }
}

/// A token is somebody else's text: what could move the cursor or turn the line around is shown, not done.
fn harmless(text: &str) -> String {
    let acts = |c: char| c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().flat_map(|c| if acts(c) { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_token_moves_no_cursor() {
        let encode = |json: &str| BASE64_URL_SAFE_NO_PAD.encode(json);
        let claims = encode(r#"{"\u001b[31mname": "a\nb", "list": ["\u009b31m", "\u202e"]}"#);
        let shown = UnverifiedToken::read(&format!("{}.{claims}.", encode("{}"))).unwrap().for_people();
        assert!(!shown.chars().any(|c| c != '\n' && (c.is_control() || c == '\u{202e}')), "{shown:?}");
        assert!(shown.contains("name") && shown.contains("list"));
    }
}
