//! `sealwright completions`: prints a script that completes commands and options in a shell.

use clap::{Args, Command, ValueEnum};
use clap_complete::{Shell as Script, generate};

use super::{error::Error, output::say};

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

/// The shells whose completions are tested.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    /// Prints the script for the commands and options of `program`.
    pub(super) fn run(self, mut program: Command) -> Result<(), Error> {
        let script = match self.shell {
            Shell::Bash => Script::Bash,
            Shell::Zsh => Script::Zsh,
            Shell::Fish => Script::Fish,
        };
        let name = program.get_name().to_owned();
        let mut text = Vec::new();
        generate(script, &mut program, name, &mut text);
        say(String::from_utf8_lossy(&text).trim_end())
    }
}
