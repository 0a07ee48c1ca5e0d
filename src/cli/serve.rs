//! `sealwright serve`: serve until told to stop.

use std::{process, sync::Arc};

use super::error::Error;
use crate::{
    clock::SystemClock,
    server::{Config, Server, telemetry},
};

pub(super) async fn run(config: Config) -> Result<(), Error> {
    let telemetry = start_telemetry(config.telemetry.clone()).await?;
    if !config.service_links.is_empty() {
        let variables = config.service_links.join(" ");
        tracing::info!(variables, "environment variables of Kubernetes are ignored: they are of a Service and no settings");
    }
    let outcome = serve(config).await;
    end_telemetry(telemetry).await;
    outcome
}

async fn serve(config: Config) -> Result<(), Error> {
    let mut shutdown = Box::pin(told_to_stop(|| ())?);
    let server = tokio::select! {
        built = Server::build(config, Arc::new(SystemClock)) => built?,
        () = &mut shutdown => return Ok(()),
    };
    server.run_until(shutdown).await;
    Ok(())
}

/// Begins to log and, where it is wanted, to trace.
pub(super) async fn start_telemetry(policy: telemetry::Policy) -> Result<telemetry::Telemetry, Error> {
    let started = tokio::task::spawn_blocking(move || telemetry::init(&policy)).await;
    Ok(started.map_err(|error| Error::Runtime(error.into()))??)
}

/// Writes and sends what is left.
pub(super) async fn end_telemetry(telemetry: telemetry::Telemetry) {
    // It fails only where dropping panics; nothing is left to be done then.
    let _ = tokio::task::spawn_blocking(move || drop(telemetry)).await;
}

/// Waits for Ctrl-C, SIGTERM, or the terminal to be closed. A second one ends the process at once, after `at_once`.
#[cfg(unix)]
pub(super) fn told_to_stop(at_once: impl FnOnce() + Send + 'static) -> Result<impl Future<Output = ()> + Send, Error> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(Error::Signals)?;
    let mut next = async move || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    };
    Ok(async move {
        next().await;
        tokio::spawn(async move {
            next().await;
            at_once();
            process::exit(1);
        });
    })
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
pub(super) fn told_to_stop(_: impl FnOnce() + Send + 'static) -> Result<impl Future<Output = ()> + Send, Error> {
    Ok(async {
        // Where it cannot be waited for, the process goes on until it is ended from outside.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
