//! `sealwright attach`: runs the client as a process beside an app, until a signal stops it.

use std::sync::Arc;

use clap::Args;

use super::{
    SettingFlags,
    error::Error,
    process::{OtherSignals, Stop, logging, stop_signal},
    settings::{OwnFlags, OwnProgram},
};
use crate::{
    attach::{self, Config},
    clock::SystemClock,
    server::{Reload, config::Program},
};

#[derive(Debug, Args)]
pub(super) struct Attach {
    #[command(flatten)]
    flags: OwnFlags<OfAttach>,
}

/// The settings of this command.
#[derive(Debug)]
struct OfAttach;

impl OwnProgram for OfAttach {
    const PROGRAM: Program = attach::PROGRAM;
}

impl Attach {
    pub(super) async fn run(self, settings: SettingFlags) -> Result<(), Error> {
        let config = Config::load(self.flags.sources(settings))?;
        let (telemetry, service_links) = (config.telemetry.clone(), config.service_links.clone());
        logging(telemetry, &service_links, serve_until_stopped(config)).await
    }
}

async fn serve_until_stopped(config: Config) -> Result<(), Error> {
    let mut shutdown = Box::pin(stop_signal(&[Stop::Interrupt, Stop::Terminate], || ())?);
    let others = OtherSignals::install()?;
    let attach = tokio::select! {
        built = attach::Attach::build(config, Arc::new(SystemClock)) => built?,
        _ = &mut shutdown => return Ok(()),
    };
    let signals = tokio::spawn(others.serve(Reload::default()));
    attach.run_until_signal(async { Some(shutdown.await) }).await;
    signals.abort();
    Ok(())
}
