//! `sealwright guard`: checks the tokens of an API in any language, by rules.

mod check;

use std::{ffi::OsString, sync::Arc};

use clap::{ArgAction, Args};

use super::{
    SettingFlags,
    error::Error,
    output::Output,
    process::{OtherSignals, Stop, logging, stop_signal},
    settings::{OwnFlags, OwnProgram},
};
use crate::{
    clock::SystemClock,
    guard::{self, Config, config::PROGRAM},
    server::config::Program,
};

#[derive(Debug, Args)]
pub(super) struct Guard {
    /// Print which rule of FILE decides a request, and what it needs; exit code 0 means that a rule decides, 1 that the request is denied or
    /// ambiguous, 2 that the file is invalid
    #[arg(long, num_args = 3, value_names = ["FILE", "METHOD", "PATH"], action = ArgAction::Set)]
    check: Option<Vec<OsString>>,
    /// With --check: exit code 0 means that the request is decided like this, and 1 that it is not
    #[arg(long, value_enum, value_name = "DECISION", requires = "check")]
    expect: Option<check::Expected>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    settings: OwnFlags<OfGuard>,
}

/// The program whose settings these are.
#[derive(Debug)]
pub(super) struct OfGuard;

impl OwnProgram for OfGuard {
    const PROGRAM: Program = PROGRAM;
}

impl Guard {
    pub(super) async fn run(self, settings: SettingFlags) -> Result<(), Error> {
        if let Some([file, method, path]) = self.check.as_deref() {
            return check::check(file.as_ref(), method, path, self.expect, self.output);
        }
        let config = Config::load(self.settings.sources(settings))?;
        let (telemetry, service_links) = (config.telemetry.clone(), config.service_links.clone());
        logging(telemetry, &service_links, serve_until_stopped(config)).await
    }
}

async fn serve_until_stopped(config: Config) -> Result<(), Error> {
    let shutdown = stop_signal(&[Stop::Interrupt, Stop::Terminate], || ())?;
    let others = OtherSignals::install()?;
    let guard = guard::Guard::build(config, Arc::new(SystemClock)).await?;
    let signals = tokio::spawn(others.serve(guard.reload()));
    guard.run_until_signal(async { Some(shutdown.await) }).await;
    signals.abort();
    Ok(())
}
