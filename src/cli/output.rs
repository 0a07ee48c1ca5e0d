//! How commands print: JSON for programs, tables for people.

use std::{
    io::{self, Write},
    time::Duration,
};

use clap::Args;
use comfy_table::{Table, presets};
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::error::Error;
use crate::{
    clock::Timestamp,
    protocol::ClientId,
    server::{caller_text, config::parse_duration, model::TokenLifetime},
};

/// How to print.
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

    /// Prints `data` as JSON, or what `for_people` makes of it.
    pub(super) fn print<T: Serialize + ?Sized>(self, data: &T, for_people: impl FnOnce(&T) -> String) -> Result<(), Error> {
        let text = self.text(data, for_people)?;
        say(&text)
    }
}

impl Output {
    /// Prints what holds the only copy of a secret of the client `id`: then a reader that has gone away is a failure too.
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

/// Prints `text` and a line break. That the reader has gone away (`| head`) is no failure. Names in it were typed by others: nothing
/// in them acts on the terminal.
pub(super) fn say(text: &str) -> Result<(), Error> {
    match write_line(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Output(error)),
        _ => Ok(()),
    }
}

/// Says on standard error what was done and may not have been meant. That no one reads it is no failure.
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

/// `2026-11-24T06:01:11Z`. Years beyond 9999 have no such form and print as seconds.
pub(super) fn rfc3339(time: Timestamp) -> String {
    let date = OffsetDateTime::from_unix_timestamp(time.seconds()).ok();
    date.and_then(|date| date.format(&Rfc3339).ok()).unwrap_or_else(|| format!("{} s", time.seconds()))
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

/// Parses `--expires-in` and its like: at least a second.
pub(super) fn positive_duration(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).filter(|duration| duration.as_secs() > 0);
    duration.ok_or_else(|| "allowed is a duration of at least 1s, such as 90days".to_owned())
}

/// Parses `--token-lifetime`.
pub(super) fn token_lifetime(text: &str) -> Result<TokenLifetime, String> {
    parse_duration(text).and_then(TokenLifetime::new).ok_or_else(|| format!("allowed is {}", TokenLifetime::RANGE))
}

/// A lifetime that an update sets, or `default`, which goes back to the server's.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewLifetime(pub(super) Option<TokenLifetime>);

pub(super) fn new_lifetime(text: &str) -> Result<NewLifetime, String> {
    if text == "default" { Ok(NewLifetime(None)) } else { token_lifetime(text).map(|lifetime| NewLifetime(Some(lifetime))) }
}

pub(super) fn lifetime_for_people(seconds: Option<u64>) -> String {
    seconds.map_or_else(|| "default".to_owned(), |seconds| humantime::format_duration(Duration::from_secs(seconds)).to_string())
}
