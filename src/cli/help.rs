//! The help of each command: its own options, and the settings that matter to it. Help and errors fit the terminal.

use std::env;

use clap::{
    Command,
    builder::styling::{AnsiColor, Style, Styles},
    error::ErrorKind,
};

use super::{
    settings,
    terminal::{report, width_of_stdout},
};
use crate::server::caller_text;

/// Prepares the help of all commands.
pub(super) fn prepare(program: Command) -> Command {
    let width = width_of_stdout();
    // An error quotes arguments: where they have to be escaped, nothing else may have control characters.
    let styles = if has_unprintable_arguments() { Styles::plain() } else { styles() };
    let program = program
        .term_width(width)
        .styles(styles)
        .after_help("Settings are flags, environment variables or lines of a file: `sealwright help settings` lists them.");
    with_settings(program, "").mut_subcommand("settings", |command| command.override_help(settings::list(width)))
}

fn styles() -> Styles {
    let color = |color: AnsiColor| Style::new().fg_color(Some(color.into()));
    Styles::styled()
        .header(color(AnsiColor::Green).bold())
        .usage(color(AnsiColor::Green).bold())
        .literal(color(AnsiColor::Cyan).bold())
        .placeholder(color(AnsiColor::Cyan))
}

/// Shows settings in the help of the commands below `path`.
fn with_settings(command: Command, path: &str) -> Command {
    command.mut_subcommands(|command| {
        let path = format!("{path} {}", command.get_name());
        let path = path.trim_start();
        if command.has_subcommands() {
            return with_settings(command, path);
        }
        settings::show_in_help(command, path)
    })
}

/// The same commands with the arguments that are shown, and `serve` with all settings: what completions offer.
pub(super) fn to_complete(command: &Command) -> Command {
    let arguments = command.get_arguments().filter(|arg| !arg.is_hide_set() && (command.get_name() != "serve" || !arg.is_global_set()));
    let mut shown = Command::new(command.get_name().to_owned()).args(arguments);
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    if command.get_name() == "serve" {
        shown = settings::show_all(shown);
    }
    command.get_subcommands().fold(shown, |shown, command| shown.subcommand(to_complete(command)))
}

/// Shows help, the version, or what is wrong with a command line, and ends the process.
pub(super) fn end(error: &clap::Error) -> ! {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        error.exit()
    }
    let plain = error.render().to_string();
    if caller_text::holds_secret(&plain) {
        report(&without_secret(&plain));
        std::process::exit(error.exit_code());
    }
    let text = error.render().ansi().to_string();
    // Without unprintable arguments, the control characters are those of our colors.
    report(&if has_unprintable_arguments() { caller_text::printable_lines(&text).into_owned() } else { text });
    std::process::exit(error.exit_code())
}

/// An error that quotes an argument with a secret in it.
fn without_secret(error: &str) -> String {
    let lines: Vec<_> = error.trim_end().lines().map(caller_text::words).collect();
    format!(
        "{}\n\nAn argument contains a secret, which other users of this machine can read in the list of processes: replace it.",
        lines.join("\n")
    )
}

/// Whether an argument of this process has characters that control a terminal or are invisible.
fn has_unprintable_arguments() -> bool {
    env::args_os().any(|argument| caller_text::printable(&argument.to_string_lossy()).as_ref() != argument.to_string_lossy())
}
