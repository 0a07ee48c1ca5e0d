//! `sealwright guard`: checks the tokens of an API in any language, by rules.

mod check;

use std::path::Path;

use clap::{ArgAction, Args};

use super::{error::Error, output::Output};

#[derive(Debug, Args)]
pub(super) struct Guard {
    /// Print which rule of FILE decides a request, and what it needs; exit code 0 means that a rule decides, 1 that the request is denied, 2 that
    /// the file is invalid
    #[arg(long, num_args = 3, value_names = ["FILE", "METHOD", "PATH"], action = ArgAction::Set, required = true)]
    check: Vec<String>,
    #[command(flatten)]
    output: Output,
}

impl Guard {
    pub(super) fn run(self) -> Result<(), Error> {
        match &self.check[..] {
            [file, method, path] => check::check(Path::new(file), method, path, self.output),
            _ => Err(Error::NotAMethod),
        }
    }
}
