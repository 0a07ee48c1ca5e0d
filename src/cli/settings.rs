//! Settings on the command line: `--config`, one flag per setting, and the list of all settings. Generated from the table of settings.

use std::{fmt::Write, marker::PhantomData, path::PathBuf};

use clap::{
    Arg, ArgAction, ArgMatches, Command, ValueHint,
    builder::{
        PathBufValueParser, StyledStr,
        styling::{AnsiColor, Style},
    },
};

use super::terminal::{shell_quoted, wrapped};
use crate::server::config::{PROGRAM, Program, Setting, Sources};

/// `--config` and one flag per setting.
#[derive(Debug)]
pub(super) struct SettingFlags {
    pub(super) flags: Vec<(String, String)>,
    pub(super) file: Option<PathBuf>,
}

impl SettingFlags {
    /// The first of these settings that was given as a flag.
    pub(super) fn names_any(&self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().copied().find(|name| self.flag(name).is_some())
    }

    /// The value of a setting that was given as a flag.
    pub(super) fn flag(&self, name: &str) -> Option<&str> {
        self.flags.iter().find_map(|(given, value)| (given == name).then_some(value.as_str()))
    }
}

impl SettingFlags {
    /// The flags that other commands need too, to work on the same issuer.
    pub(super) fn repeated(&self) -> String {
        let file = self.file.iter().map(|file| format!(" --{FILE} {}", shell_quoted(&file.display().to_string())));
        let flags = ["database_url", "database_tls", "keys_dir"].into_iter().filter_map(|name| {
            let value = self.flag(name)?;
            Some(format!(" --{} {}", name.replace('_', "-"), shell_quoted(value)))
        });
        file.chain(flags).collect()
    }
}

const FILE: &str = "config";
const HEADING: &str = "Settings";
/// Ends the help of each command that reads settings.
const ALL_SETTINGS: &str = "All settings and their variables: sealwright help settings";

/// The settings that the help of a command shows. Every command accepts all of them.
fn shown(path: &str) -> &'static [&'static str] {
    match path {
        "demo" => &["listen", "token_lifetime", "log"],
        "serve" => &["issuer", "listen", "database_url"],
        "check" => &["issuer", "database_url", "keys_dir"],
        "health" => &["issuer", "listen", "tls_cert"],
        "restored" => &["database_url", "keys_dir"],
        "key list" => &["database_url", "database_tls", "keys_dir"],
        "key plan" => &["database_url", "keys_dir", "key_rotation_period", "key_publish_lead", "management_listen"],
        "token verify" => &["issuer"],
        "token revoke" => &["database_url", "database_tls", "keys_dir"],
        "user create" | "user set-password" => &["database_url", "database_tls", "password_min_length"],
        "attach" | "completions" | "guard" | "man" | "probe" | "settings" | "token get" | "token inspect" => &[],
        _ => &["database_url", "database_tls"],
    }
}

impl clap::Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let hidden = |arg: Arg| arg.hide(true);
        flags(&PROGRAM).map(hidden).fold(command.arg(file(&PROGRAM).hide(true)), Command::arg)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn file(program: &Program) -> Arg {
    Arg::new(FILE)
        .long(FILE)
        .value_name("FILE")
        .value_parser(PathBufValueParser::new())
        .value_hint(ValueHint::FilePath)
        .global(true)
        .help_heading(HEADING)
        .help(format!("A TOML file with settings [default: {} if it exists]", program.file))
}

fn flags(program: &Program) -> impl Iterator<Item = Arg> + use<> {
    program.settings.iter().filter(|setting| !setting.secret).map(flag)
}

fn flag(setting: &Setting) -> Arg {
    let default = setting.default.map(|value| format!(" [default: {value}]")).unwrap_or_default();
    Arg::new(setting.name)
        .long(flag_name(setting))
        .action(if setting.list { ArgAction::Append } else { ArgAction::Set })
        .value_name("VALUE")
        .global(true)
        .help_heading(HEADING)
        .help(format!("{}{default}", capital(short(setting))))
}

/// The first clause of its purpose, or all of it if that states the default.
fn short(setting: &Setting) -> &'static str {
    let first = setting.help.split(';').next().filter(|_| setting.default.is_some());
    first.unwrap_or(setting.help)
}

fn flag_name(setting: &Setting) -> String {
    setting.name.replace('_', "-")
}

/// Shows in the help of `command` the settings that matter to it; `path` is its name without the program's.
pub(super) fn show_in_help(command: Command, path: &str) -> Command {
    let names = shown(path);
    if names.is_empty() { command } else { show(command, |name| names.contains(&name)).after_help(ALL_SETTINGS) }
}

/// Shows all settings.
pub(super) fn show_all(command: Command) -> Command {
    show(command, |_| true)
}

/// An argument of a command takes the place of the hidden one of the same name that it would get from the program.
fn show(command: Command, shown: impl Fn(&str) -> bool) -> Command {
    // A demo reads no file.
    let file = file(&PROGRAM).hide(command.get_name() == "demo");
    flags(&PROGRAM).filter(|arg| shown(arg.get_id().as_str())).fold(command.arg(file), Command::arg)
}

/// All settings: name, default, flag, variable, purpose and allowed values, in lines of at most `width` columns.
pub(super) fn list(width: usize) -> StyledStr {
    const INTRODUCTION: &str = "A setting is a flag, an environment variable, or a line of a TOML file (name = value). A flag wins over a \
        variable, a variable over the file, and the file over the default. The file is sealwright.toml in the current folder, or the one \
        that --config or SEALWRIGHT_CONFIG names. `sealwright check` reports invalid settings.";
    let name = Style::new().bold().fg_color(Some(AnsiColor::Cyan.into()));
    let mut text = wrapped(INTRODUCTION, width);
    for setting in PROGRAM.settings {
        let default = setting.default.map(|value| format!(" [default: {value}]")).unwrap_or_default();
        let places = format!("    {}", places(&PROGRAM, setting).join(", "));
        let help = format!("    {}", sentences(setting));
        // A String takes every text.
        let _ = write!(text, "\n\n{name}{}{name:#}{default}\n{}\n{}", setting.name, wrapped(&places, width), wrapped(&help, width));
    }
    text.into()
}

/// Where a setting can be set, besides the file.
pub(super) fn places(program: &Program, setting: &Setting) -> Vec<String> {
    let variable = program.variable(setting.name);
    let file = setting.may_be_secret().then(|| format!("{variable}_FILE (a file that contains the value)"));
    let flag = (!setting.secret).then(|| format!("--{}", flag_name(setting)));
    flag.into_iter().chain([variable]).chain(file).collect()
}

/// Its purpose and the allowed values.
pub(super) fn sentences(setting: &Setting) -> String {
    format!("{}. Allowed: {}.", capital(setting.help), setting.allowed)
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

impl clap::FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self { flags: given(matches, &PROGRAM), file: matches.get_one::<PathBuf>(FILE).cloned() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The settings of a program that were given as flags.
fn given(matches: &ArgMatches, program: &Program) -> Vec<(String, String)> {
    let given = |setting: &Setting| {
        let values: Vec<&str> = matches.try_get_many::<String>(setting.name).ok().flatten()?.map(String::as_str).collect();
        Some((setting.name.to_owned(), values.join(" ")))
    };
    program.settings.iter().filter_map(given).collect()
}

/// A command that runs a program with settings of its own.
pub(super) trait OwnProgram {
    const PROGRAM: Program;
}

/// One flag per setting of such a program. Each takes the place of the server's flag of the same name.
#[derive(Debug)]
pub(super) struct OwnFlags<T> {
    flags: Vec<(String, String)>,
    command: PhantomData<T>,
}

impl<T: OwnProgram> OwnFlags<T> {
    /// The sources of its settings. Flags of the server that it does not have stay among them, so that they are refused.
    pub(super) fn sources(self, of_server: SettingFlags) -> Sources {
        let foreign = of_server.flags.into_iter().filter(|(name, _)| T::PROGRAM.find(name).is_none());
        Sources::of_process(&T::PROGRAM, self.flags.into_iter().chain(foreign).collect(), of_server.file)
    }
}

impl<T: OwnProgram> clap::Args for OwnFlags<T> {
    fn augment_args(command: Command) -> Command {
        flags(&T::PROGRAM).fold(command.arg(file(&T::PROGRAM)), Command::arg)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<T: OwnProgram> clap::FromArgMatches for OwnFlags<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self { flags: given(matches, &T::PROGRAM), command: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
