//! `sealwright token inspect`: prints the content of a token.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::{TokenArgument, printable};
use crate::{
    cli::{
        error::Error,
        output::{Output, facts, rfc3339},
    },
    clock::Timestamp,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Inspect {
    #[command(flatten)]
    token: TokenArgument,
    #[command(flatten)]
    output: Output,
}

impl Inspect {
    pub(super) fn run(self) -> Result<(), Error> {
        let unverified = UnverifiedToken::read(&self.token.read()?)?;
        self.output.print(&unverified, UnverifiedToken::for_people)
    }
}

/// The content of a token whose signature was not verified.
#[derive(Default, Serialize)]
pub(super) struct UnverifiedToken {
    /// Always false: `inspect` does not verify.
    verified: bool,
    pub(super) header: serde_json::Map<String, Value>,
    pub(super) claims: serde_json::Map<String, Value>,
}

impl UnverifiedToken {
    pub(super) fn read(token: &str) -> Result<Self, Error> {
        let refuse = |why| Error::NotAToken(why);
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
            (printable(name), printable(&shown))
        };
        let part = |members: &serde_json::Map<String, Value>| {
            let rows: Vec<_> = members.iter().map(row).collect();
            facts(rows.iter().map(|(name, value)| (name.as_str(), value.clone())))
        };
        format!("header\n{}\n\nclaims\n{}\n\nThe signature was not verified.", part(&self.header), part(&self.claims))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_token_cannot_control_the_terminal() {
        let encode = |json: &str| BASE64_URL_SAFE_NO_PAD.encode(json);
        let claims = encode(r#"{"\u001b[31mname": "a\nb", "list": ["\u009b31m", "\u202e"]}"#);
        let shown = UnverifiedToken::read(&format!("{}.{claims}.", encode("{}"))).unwrap().for_people();
        assert!(!shown.chars().any(|c| c != '\n' && (c.is_control() || c == '\u{202e}')), "{shown:?}");
        assert!(shown.contains("name") && shown.contains("list"));
    }
}
