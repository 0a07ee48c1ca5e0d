//! The output of commands: JSON for programs, tables for people.

use std::{
    io::{self, Write},
    time::Duration,
};

use clap::Args;
use comfy_table::{Table, presets};
use serde::Serialize;

use super::error::Error;
pub(super) use crate::server::model::rfc3339;
use crate::{
    clock::Timestamp,
    protocol::ClientId,
    server::{caller_text, config::parse_duration, model::TokenLifetime},
};

/// The output format.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Output {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Output {
    pub(super) const fn is_json(self) -> bool {
        self.json
    }

    /// Prints `data` as JSON, or the text that `for_people` returns.
    pub(super) fn print<T: Serialize + ?Sized>(self, data: &T, for_people: impl FnOnce(&T) -> String) -> Result<(), Error> {
        let text = self.text(data, for_people)?;
        say(&text)
    }

    /// Prints the only copy of a secret of the client `id`. Unlike in [`Self::print`], a closed pipe is an error.
    pub(super) fn print_secret<T: Serialize>(self, data: &T, id: &ClientId, for_people: impl FnOnce(&T) -> String) -> Result<(), Error> {
        let text = self.text(data, for_people)?;
        write_line(&text).map_err(|source| Error::SecretLost { client: id.to_string(), source })
    }

    fn text<T: Serialize + ?Sized>(self, data: &T, for_people: impl FnOnce(&T) -> String) -> Result<String, Error> {
        if self.json {
            let json = serde_json::to_string_pretty(data).map_err(|error| Error::Output(error.into()))?;
            Ok(caller_text::printable_json(&json).into_owned())
        } else {
            Ok(for_people(data))
        }
    }
}

fn write_line(text: &str) -> io::Result<()> {
    let text = caller_text::printable_lines(text);
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush())
}

/// Prints `text` and a line break. A closed pipe (`| head`) is not an error. Names in the text may come from others, so control
/// characters are escaped.
pub(super) fn say(text: &str) -> Result<(), Error> {
    match write_line(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Output(error)),
        _ => Ok(()),
    }
}

/// Prints a warning to standard error; ignores failures.
pub(super) fn warn(text: &str) {
    let _ = writeln!(io::stderr(), "warning: {text}");
}

/// A table with a heading.
pub(super) fn table<const N: usize>(heading: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(heading);
    table.add_rows(rows);
    trimmed(&table)
}

/// A table of names and values.
pub(super) fn facts<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.add_rows(rows.into_iter().map(|(name, value)| [name.to_owned(), value]));
    trimmed(&table)
}

fn trimmed(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

pub(super) fn rfc3339_if_any(time: Option<Timestamp>) -> Option<String> {
    time.map(rfc3339)
}

pub(super) fn or_never(time: Option<String>) -> String {
    time.unwrap_or_else(|| "never".to_owned())
}

pub(super) fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

/// Parses `--expires-in` and similar options: at least one second.
pub(super) fn positive_duration(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).filter(|duration| duration.as_secs() > 0);
    duration.ok_or_else(|| "expected a duration of at least 1s, such as 90days".to_owned())
}

/// Parses `--token-lifetime`.
pub(super) fn token_lifetime(text: &str) -> Result<TokenLifetime, String> {
    parse_duration(text).and_then(TokenLifetime::new).ok_or_else(|| format!("expected {}", TokenLifetime::RANGE))
}

/// The lifetime that an update sets; `default` returns to the server's default.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewLifetime(pub(super) Option<TokenLifetime>);

pub(super) fn new_lifetime(text: &str) -> Result<NewLifetime, String> {
    if text == "default" { Ok(NewLifetime(None)) } else { token_lifetime(text).map(|lifetime| NewLifetime(Some(lifetime))) }
}

pub(super) fn lifetime_for_people(seconds: Option<u64>) -> String {
    seconds.map_or_else(|| "default".to_owned(), |seconds| humantime::format_duration(Duration::from_secs(seconds)).to_string())
}
