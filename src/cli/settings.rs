use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, builder::PathBufValueParser};

use crate::server::config::{SETTINGS, Setting};

/// `--config` and one flag per setting, generated from the table of settings.
#[derive(Debug)]
pub(super) struct SettingFlags {
    pub(super) flags: Vec<(String, String)>,
    pub(super) file: Option<PathBuf>,
}

impl SettingFlags {
    /// The first of these settings that was given as a flag.
    pub(super) fn names_any(&self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().copied().find(|name| self.flags.iter().any(|(given, _)| given == name))
    }
}

const FILE: &str = "config";

impl clap::Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new(FILE)
            .long(FILE)
            .value_name("FILE")
            .value_parser(PathBufValueParser::new())
            .global(true)
            .help_heading("Settings")
            .help("A TOML file with settings [default: sealwright.toml if it exists] [env: SEALWRIGHT_CONFIG]");
        SETTINGS.iter().filter(|setting| !setting.secret).map(flag).fold(command.arg(file), Command::arg)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn flag(setting: &Setting) -> Arg {
    let default = setting.default.map(|value| format!(" [default: {value}]")).unwrap_or_default();
    let help = format!("{}: {}{default} [env: SEALWRIGHT_{}]", capital(setting.help), setting.allowed, setting.name.to_uppercase());
    Arg::new(setting.name)
        .long(setting.name.replace('_', "-"))
        .value_name("VALUE")
        .global(true)
        .hide_short_help(true)
        .help_heading("Settings")
        .help(help)
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

impl clap::FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |setting: &Setting| {
            let value = matches.try_get_one::<String>(setting.name).ok().flatten()?;
            Some((setting.name.to_owned(), value.clone()))
        };
        Ok(Self { flags: SETTINGS.iter().filter_map(given).collect(), file: matches.get_one::<PathBuf>(FILE).cloned() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
