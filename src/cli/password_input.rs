//! Password input of commands: from standard input, or prompted for on a terminal.

use std::io::{self, IsTerminal};

use clap::Args;
use zeroize::Zeroizing;

use super::{error::Error, first_line::first_line};
use crate::server::model::Password;

#[derive(Debug, Args)]
pub(super) struct PasswordInput {
    /// Read the password from the first line of standard input; without this, it is prompted for twice
    #[arg(long)]
    password_stdin: bool,
}

/// More than any password needs.
const INPUT_LIMIT: usize = 64 * 1024;

impl PasswordInput {
    pub(super) fn read(&self) -> Result<Password, Error> {
        if self.password_stdin { from_standard_input() } else { from_terminal() }
    }
}

fn from_standard_input() -> Result<Password, Error> {
    let too_long = || Error::Password("the password is too long: it has at most 1,024 characters".to_owned());
    let line = first_line(INPUT_LIMIT)?.ok_or_else(too_long)?;
    parse(std::str::from_utf8(&line).map_err(|_| Error::Password("the password is not UTF-8".to_owned()))?)
}

/// Prompts without echo.
fn from_terminal() -> Result<Password, Error> {
    if !io::stdin().is_terminal() {
        return Err(Error::NoTerminal);
    }
    let ask = |prompt| rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(Error::Input);
    let first = ask("Password: ")?;
    let password = parse(&first)?;
    if *first != *ask("Repeat the password: ")? {
        return Err(Error::Password("the two passwords differ; nothing was changed".to_owned()));
    }
    Ok(password)
}

fn parse(text: &str) -> Result<Password, Error> {
    Password::parse(text).map_err(|malformed| Error::Password(malformed.to_string()))
}
