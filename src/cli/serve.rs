//! `sealwright serve`: serve until told to stop.

use std::{process, sync::Arc};

use super::error::Error;
use crate::{
    clock::SystemClock,
    server::{Config, Server, telemetry},
};

pub(super) async fn run(config: Config) -> Result<(), Error> {
    telemetry::init(&config.telemetry);
    let shutdown = told_to_stop()?;
    let server = Server::build(config, Arc::new(SystemClock)).await?;
    server.run_until(shutdown).await;
    Ok(())
}

/// Waits for Ctrl-C or SIGTERM. A second one ends the process at once.
#[cfg(unix)]
pub(super) fn told_to_stop() -> Result<impl Future<Output = ()> + Send, Error> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut next = async move || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    Ok(async move {
        next().await;
        tokio::spawn(async move {
            next().await;
            process::exit(1);
        });
    })
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
pub(super) fn told_to_stop() -> Result<impl Future<Output = ()> + Send, Error> {
    Ok(async {
        // Where it cannot be waited for, the process goes on until it is ended from outside.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
