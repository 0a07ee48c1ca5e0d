//! `sealwright completions`: prints a script that completes commands and options in a shell.

use std::fmt::Write;

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
        let mut text = String::from_utf8_lossy(&text).trim_end().to_owned();
        if script == Script::Fish {
            program.get_subcommands().for_each(|command| offer_values(command, &mut text));
        }
        say(&text)
    }
}

/// Makes fish offer the values of a command's arguments, not files. The generated script offers only the values of options.
fn offer_values(command: &Command, script: &mut String) {
    for argument in command.get_positionals() {
        let values: Vec<_> = argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        if !values.is_empty() {
            let (name, values) = (command.get_name(), values.join(" "));
            // A String takes every text.
            let _ = write!(script, "\ncomplete -c sealwright -n \"__fish_sealwright_using_subcommand {name}\" -f -a \"{values}\"");
        }
    }
}
