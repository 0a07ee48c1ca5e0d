use std::{io, path::PathBuf};

use crate::{
    server::{self, config, keys, registry, store, telemetry},
    verifier,
};

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the runtime could not be started: {0}")]
    Runtime(io::Error),
    #[error(transparent)]
    Config(#[from] config::Error),
    #[error(transparent)]
    Database(#[from] store::OpenError),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Keys(#[from] keys::Error),
    #[error(transparent)]
    Server(#[from] server::Error),
    #[error(transparent)]
    Telemetry(#[from] telemetry::Error),
    #[error("the demo needs a folder for throwaway files: {0}")]
    DemoFolder(io::Error),
    #[error("signals cannot be waited for: {0}")]
    Signals(io::Error),
    #[error("standard input cannot be read: {0}")]
    Input(io::Error),
    #[error("{0}")]
    Password(String),
    #[error("the password cannot be asked for, since standard input is not a terminal: hand it over by --password-stdin")]
    NoTerminal,
    #[error(transparent)]
    Restore(#[from] server::RestoreError),
    #[error("the backup {} was not made: {source}", path.display())]
    Backup { path: PathBuf, source: io::Error },
    #[error(
        "this database is PostgreSQL, which has its own tools: `pg_dump --format=custom --file=FILE DATABASE` makes a copy, `dropdb`, `createdb` and `pg_restore --exit-on-error --single-transaction --dbname=DATABASE FILE` restore it; run `sealwright restored` before the server starts again"
    )]
    BackupOfPostgres,
    #[error(
        "the secret {secret} is the last one by which the client {client} gets tokens: give it another first (`client add-secret {client}`), or drop this one all the same with --last"
    )]
    LastSecret { client: String, secret: String },
    #[error("the server is not ready: {0}")]
    NotReady(String),
    #[error("{url} did not say whether the server is ready: {why}")]
    NoHealth { url: String, why: String },
    #[error(transparent)]
    Registration(#[from] registry::RegistrationError),
    #[error(
        "the secret could not be shown ({source}) and is lost, though the client {client} has it: give it another by `client add-secret {client}`"
    )]
    SecretLost { client: String, source: io::Error },
    #[error("--{0} cannot be used here: a demo keeps everything in a throwaway folder and answers on this machine alone")]
    NotInDemo(String),
    #[error("the output could not be written: {0}")]
    Output(io::Error),
    #[error("this is no token: {0}")]
    NoToken(&'static str),
    #[error("whose token is it? name the issuer by --issuer, as its metadata does")]
    NoIssuer,
    #[error(transparent)]
    Verifier(#[from] verifier::BuildError),
    #[error("the token is refused: {0} ({code})", code = .0.code())]
    Refused(#[source] verifier::Error),
    #[error("nobody can say whether the token is good: {0} ({code})", code = .0.code())]
    NotChecked(#[source] verifier::Error),
    #[error("not everything is usable; see above")]
    CheckFailed,
}
