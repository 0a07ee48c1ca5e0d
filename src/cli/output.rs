//! The output of commands: JSON for programs, text and tables for people.

use std::{
    io::{self, Write},
    time::Duration,
};

use clap::Args;
use serde::Serialize;

use super::error::Error;
pub(super) use super::table::{Screen, facts, is_narrow, table};
pub(super) use crate::server::model::rfc3339;
use crate::{
    protocol::ClientId,
    server::{
        caller_text,
        commands::{FOLLOWED_WITHIN, view::EntityView},
        config::parse_duration,
        model::{TakenBack, TokenLifetime},
    },
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
    pub(super) fn print<T: Serialize + ?Sized, S: Into<Screen>>(self, data: &T, for_people: impl FnOnce(&T) -> S) -> Result<(), Error> {
        match write_line(&self.screen(data, for_people)?) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Output(error)),
            _ => Ok(()),
        }
    }

    /// Prints the only copy of a secret of the client `id`. Unlike in [`Self::print`], a closed pipe is an error.
    pub(super) fn print_secret<T: Serialize>(self, data: &T, id: &ClientId, for_people: impl FnOnce(&T) -> String) -> Result<(), Error> {
        write_line(&self.screen(data, for_people)?).map_err(|source| Error::SecretLost { client: id.to_string(), source })
    }

    /// Prints a list as JSON, or as a table of one row per entity. Warns of damaged ones.
    pub(super) fn print_list<T: Serialize, const N: usize>(
        self,
        views: &[EntityView<T>],
        heading: [&str; N],
        row: impl Fn(&T) -> [String; N],
    ) -> Result<(), Error> {
        let state = heading.iter().position(|name| *name == "STATE").unwrap_or(1);
        let row = |view: &EntityView<T>| match view {
            EntityView::Whole(view) => row(view),
            EntityView::Damaged(damaged) => std::array::from_fn(|column| match column {
                0 => damaged.name().to_owned(),
                column if column == state => "damaged".to_owned(),
                _ => "-".to_owned(),
            }),
        };
        self.print(views, |views| table(heading, views.iter().map(row)))?;
        const WARNINGS: usize = 10;
        let damaged = views.iter().filter_map(|view| match view {
            EntityView::Whole(_) => None,
            EntityView::Damaged(damaged) => Some(damaged),
        });
        let count = damaged.clone().count();
        for damaged in damaged.take(WARNINGS) {
            warn(&format!("{} cannot be shown: {}", damaged.name(), damaged.damaged));
        }
        if count > WARNINGS {
            warn(&format!("{} more cannot be shown", count - WARNINGS));
        }
        Ok(())
    }

    /// Prints an entity after a change. If it is damaged, warns that it was changed but cannot be shown.
    pub(super) fn print_changed<T: Serialize, S: Into<Screen>>(
        self,
        view: &EntityView<T>,
        for_people: impl FnOnce(&T) -> S,
    ) -> Result<(), Error> {
        self.print(view, |view| match view {
            EntityView::Whole(view) => for_people(view).into(),
            EntityView::Damaged(damaged) => Screen::from(facts([("name", damaged.name().to_owned()), ("state", "damaged".to_owned())])),
        })?;
        if let EntityView::Damaged(damaged) = view {
            warn(&format!("the change was made, but {} cannot be shown: {}", damaged.name(), damaged.damaged));
        }
        Ok(())
    }

    /// Says what a change ended, below the changed entity. In JSON, the entity is all.
    pub(super) fn print_ended(self, ended: &str) -> Result<(), Error> {
        if self.json { Ok(()) } else { say(&format!("\n{ended}")) }
    }

    fn screen<T: Serialize + ?Sized, S: Into<Screen>>(self, data: &T, for_people: impl FnOnce(&T) -> S) -> Result<Screen, Error> {
        if self.json {
            let json = serde_json::to_string_pretty(data).map_err(|error| Error::Output(error.into()))?;
            Ok(caller_text::printable_json(&json).into_owned().into())
        } else {
            Ok(for_people(data).into())
        }
    }
}

fn write_line(screen: &Screen) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{screen}").and_then(|()| out.flush())
}

/// Prints `text` and a line break. A closed pipe (`| head`) is not an error. Names in the text may come from others, so control
/// characters are escaped.
pub(super) fn say(text: &str) -> Result<(), Error> {
    match write_line(&text.to_owned().into()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Output(error)),
        _ => Ok(()),
    }
}

/// Prints a warning to standard error; ignores failures.
pub(super) fn warn(text: &str) {
    let _ = writeln!(io::stderr(), "warning: {}", caller_text::printable_lines(text));
}

pub(super) fn or_never(time: Option<String>) -> String {
    time.unwrap_or_else(|| "never".to_owned())
}

pub(super) fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

/// `1 login`, `3 logins`.
pub(super) fn logins(count: u64) -> String {
    if count == 1 { "1 login".to_owned() } else { format!("{count} logins") }
}

/// How many logins ended, and which access tokens verifiers refuse because of the change. `all` names all access tokens that it concerns.
pub(super) fn ended(taken: TakenBack, all: &str) -> String {
    let mut said = format!("ended {}", logins(taken.logins));
    if taken.expired_logins > 0 {
        said += &format!(", and {} that had expired", taken.expired_logins);
    }
    match refused_tokens(taken, all) {
        Some(tokens) => format!("{said}; {}", refused_soon(tokens)),
        None => said,
    }
}

/// The same of a change that need not take anything back. `None` if it did not.
pub(super) fn ended_if_any(taken: TakenBack, all: &str) -> Option<String> {
    match taken.all_logins() {
        0 => refused_tokens(taken, all).map(refused_soon),
        _ => Some(ended(taken, all)),
    }
}

/// The access tokens that were revoked: if they are only those of the logins that ended, these have been named before.
fn refused_tokens(taken: TakenBack, all: &str) -> Option<&str> {
    match (taken.own_tokens, taken.login_tokens, taken.all_logins()) {
        (false, false, _) => None,
        (true, ..) | (_, _, 0) => Some(all),
        (.., 1) => Some("its access tokens"),
        _ => Some("their access tokens"),
    }
}

/// There was nothing to revoke, or tokens of this kind cannot be revoked.
pub(super) fn revoked_none(whose: &str) -> String {
    format!("revoked no token {whose}: none names a position in a status list that is not revoked yet")
}

/// Says which verifiers refuse revoked tokens, and how soon.
pub(super) fn refused_soon(tokens: &str) -> String {
    refused(&format!("{tokens} within {} s", FOLLOWED_WITHIN.as_secs()))
}

/// The verifiers that learn of a revocation. Others accept a token until it expires.
pub(super) fn refused(tokens_and_time: &str) -> String {
    format!("verifiers that read the status lists refuse {tokens_and_time}")
}

/// Parses `--expires-in` and similar options: from one second to 100 years of 365.25 days.
pub(super) fn positive_duration(text: &str) -> Result<Duration, String> {
    const MAX: Duration = Duration::from_secs(100 * 31_557_600);
    let duration = parse_duration(text).filter(|duration| duration.as_secs() > 0 && *duration <= MAX);
    duration.ok_or_else(|| "expected a duration from 1s to 100years, such as 90days".to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_said_to_have_ended_and_revoked_what_it_did_and_no_more() {
        const WITHIN: &str = "verifiers that read the status lists refuse";
        let taken = |own_tokens, login_tokens, logins, expired_logins| TakenBack { own_tokens, login_tokens, logins, expired_logins };
        let said = |taken| ended(taken, "all of its access tokens");
        assert_eq!(said(taken(false, false, 0, 0)), "ended 0 logins");
        assert_eq!(said(taken(false, false, 2, 0)), "ended 2 logins", "its tokens name no status list");
        assert_eq!(said(taken(false, true, 1, 0)), format!("ended 1 login; {WITHIN} its access tokens within 12 s"));
        assert_eq!(
            said(taken(false, true, 0, 2)),
            format!("ended 0 logins, and 2 that had expired; {WITHIN} their access tokens within 12 s")
        );
        assert_eq!(
            said(taken(true, true, 2, 1)),
            format!("ended 2 logins, and 1 that had expired; {WITHIN} all of its access tokens within 12 s")
        );
        assert_eq!(said(taken(true, false, 0, 0)), format!("ended 0 logins; {WITHIN} all of its access tokens within 12 s"));
        let of_update = |taken| ended_if_any(taken, "its earlier access tokens");
        assert_eq!(of_update(TakenBack::default()), None);
        assert_eq!(of_update(taken(false, true, 0, 0)), Some(format!("{WITHIN} its earlier access tokens within 12 s")));
        assert_eq!(of_update(taken(false, false, 1, 0)), Some("ended 1 login".to_owned()));
    }
}
