//! The command line: one file per command.

mod algorithm;
mod allowance;
mod attach;
mod backup;
mod change;
mod check;
mod claim;
mod client;
mod completions;
mod confirmation;
mod demo;
mod error;
mod federate;
mod first_line;
mod guard;
mod health;
mod help;
mod key;
mod login;
mod man;
mod node;
mod output;
mod password_input;
mod probe;
mod process;
mod progress;
mod resource;
mod restored;
mod selection;
mod serve;
mod settings;
mod table;
mod terminal;
mod token;
mod user;

use std::{env, net::SocketAddr};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use error::Error;
use settings::SettingFlags;

use crate::{
    clock::{Clock, SystemClock},
    server::{
        Config, caller_text,
        commands::{Act, Commands},
        config::{self, Sources},
    },
};

/// Issues signed access tokens to trusted apps, and publishes the keys with which APIs verify them offline.
#[derive(Debug, Parser)]
#[command(name = "sealwright", version, arg_required_else_help = true)]
struct CommandLine {
    #[command(flatten)]
    settings: SettingFlags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a throwaway issuer with an API, three clients and a user, and print requests to paste
    Demo,
    /// Run the server; the first start creates the database, the sealing key and the first signing key
    Serve(serve::Serve),
    /// Resources: the APIs that tokens are for
    #[command(subcommand)]
    Resource(resource::Command),
    /// Clients: the trusted apps that get tokens
    #[command(subcommand)]
    Client(client::Command),
    /// Users: the people who sign in
    #[command(subcommand)]
    User(user::Command),
    /// Logins: the sessions of users
    #[command(subcommand)]
    Login(login::Command),
    /// Signing keys: their states and dates
    #[command(subcommand)]
    Key(key::Command),
    /// Changes: what operators changed
    #[command(subcommand)]
    Change(change::Command),
    /// Access tokens: get, inspect, verify or revoke one
    #[command(subcommand)]
    Token(token::Command),
    /// Print what makes a cloud, Vault or Kubernetes accept the tokens of a client
    #[command(subcommand)]
    Federate(federate::Command),
    /// Run in front of an API in any language: check tokens by the rules of a file, and answer a gateway or forward
    ///
    /// Each setting is also a variable, such as SEALWRIGHT_GUARD_RULES, and a line of sealwright-guard.toml.
    Guard(guard::Guard),
    /// Run beside an app in any language: what the app sends here goes to the API with a token on it
    ///
    /// Each setting is also a variable, such as SEALWRIGHT_ATTACH_TO, and a line of sealwright-attach.toml.
    Attach(attach::Attach),
    /// Attack your own API with hostile tokens, and print what it lets through and what to change
    Probe(Box<probe::Probe>),
    /// Check configuration, database and keys without starting a server
    Check(check::Check),
    /// Ask the server whether it is ready; exit code 0 means yes
    Health(health::Health),
    /// Copy an SQLite database into one file; the server may be running
    Backup(backup::Backup),
    /// Prepare a database that was restored from a backup: run it once, before the server starts
    Restored(restored::Restored),
    /// List all settings: flags, environment variables, defaults, allowed values
    Settings,
    /// Print a script that completes commands and options in a shell
    Completions(completions::Completions),
    /// Print the man page, or write the man pages of all commands
    Man(man::Man),
}

/// Why a command failed. The text says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{}", caller_text::printable_lines(&.0.to_string()))]
pub struct Failed(#[source] Box<Error>);

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self(Box::new(error))
    }
}

impl Failed {
    /// The exit code: 78 (`EX_CONFIG` of sysexits.h) if the configuration is invalid, so that a supervisor does not retry; 2 if `--yes` is
    /// missing, or what `guard --check` is given is invalid, or a resource is named by no URI without `--not-a-uri`, or a file of `probe` cannot be written, as for other errors of usage; 3 if `probe`
    /// cannot probe the API; otherwise 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match &*self.0 {
            Error::Config(_) => 78,
            Error::Guard(error) if error.is_of_rules() => 78,
            Error::Unprobed(error) if !error.is_of_usage() => 3,
            Error::NotConfirmable
            | Error::NotAMethod
            | Error::NotAUri(_)
            | Error::ProbeFile { .. }
            | Error::ProbeOption { .. }
            | Error::RuleFile(_)
            | Error::Unprobed(_) => 2,
            _ => 1,
        }
    }

    /// Writes the text to standard error, wrapped and colored on a terminal.
    pub fn report(&self) {
        terminal::report(&format!("\x1b[1;31msealwright:\x1b[0m {self}"));
    }
}

/// Parses the command line of this process and runs it.
///
/// # Errors
///
/// If the command fails; the text says why and what to do. A command line that cannot be parsed ends the process with exit
/// code 2.
pub fn run() -> Result<(), Failed> {
    let mut program = help::prepare(CommandLine::command());
    let matches = program.try_get_matches_from_mut(env::args_os()).unwrap_or_else(|error| help::end(&error));
    let parsed = CommandLine::from_arg_matches(&matches);
    let CommandLine { settings, command } = parsed.unwrap_or_else(|error| help::end(&error.format(&mut program)));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::Runtime)?;
    // These keep to time limits. Looking up a host name has none, and dropping the runtime would wait for its thread.
    let is_limited = matches!(command, Command::Token(_) | Command::Health(_) | Command::Probe(_));
    let outcome = runtime.block_on(command.run(settings));
    if is_limited {
        runtime.shutdown_background();
    }
    Ok(outcome?)
}

impl Command {
    async fn run(self, settings: SettingFlags) -> Result<(), Error> {
        match self {
            Self::Demo => demo::run(settings).await,
            Self::Serve(serve) => serve::run(serve, settings).await,
            Self::Health(health) => health.run(settings).await,
            Self::Restored(restored) => restored.run(settings.load()?).await,
            Self::Check(check) => check.run(settings).await,
            Self::Guard(guard) => guard.run(settings).await,
            Self::Token(command) => command.run(settings).await,
            Self::Attach(attach) => attach.run(settings).await,
            Self::Probe(probe) => probe.run(settings).await,
            Self::Resource(command) => Operator::with(settings, async |operator| command.run(operator).await).await,
            Self::Client(command) => Operator::with(settings, async |operator| command.run(operator).await).await,
            Self::User(command) => Operator::with(settings, async |operator| command.run(operator).await).await,
            Self::Login(command) => Operator::with(settings, async |operator| command.run(operator).await).await,
            Self::Backup(backup) => Operator::with(settings, async |operator| backup.run(operator).await).await,
            Self::Change(command) => Operator::with(settings, async |operator| command.run(operator).await).await,
            Self::Federate(command) => Operator::with(settings, async |operator| command.run(operator).await).await,
            Self::Settings => output::say(&settings::list(terminal::width_of_stdout()).to_string()),
            Self::Completions(completions) => completions.run(help::to_complete(&help::prepare(CommandLine::command()))),
            Self::Man(man) => man.run(help::prepare(CommandLine::command())),
            Self::Key(command) => Operator::with(settings, async |operator| command.run(operator).await).await,
        }
    }
}

/// The operator who runs this process: the commands on the database, and the act by which they change it.
#[derive(Debug)]
struct Operator {
    commands: Commands,
    act: Act,
    /// The management listener that the configuration describes.
    management: Option<SocketAddr>,
}

impl Operator {
    /// Opens the database for one command, and closes it whether or not the command succeeds.
    async fn with(settings: SettingFlags, command: impl AsyncFnOnce(&Self) -> Result<(), Error>) -> Result<(), Error> {
        let config = settings.load()?;
        let commands = Commands::open(config.commands()).await?;
        let operator = Self { commands, act: Act::of_process(SystemClock.now()), management: config.management.listen };
        let outcome = command(&operator).await;
        operator.commands.close().await;
        outcome
    }

    /// The act of a change that was prepared at a prompt: it happens now, not when the command began.
    fn act_now(&self) -> Act {
        Act::of_process(SystemClock.now())
    }
}

impl SettingFlags {
    fn load(self) -> Result<Config, Error> {
        Ok(Config::load(Sources::of_process(&config::PROGRAM, self.flags, self.file))?)
    }
}
