//! `sealwright serve`: serve until told to stop.

use std::{process, sync::Arc};

use clap::Args;

use super::error::Error;
use crate::{
    clock::SystemClock,
    server::{Config, Reload, Server, telemetry},
};

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Found a new issuer in an empty database although there is a sealing key: gives up the issuer that the key is from
    #[arg(long)]
    found_new_issuer: bool,
}

pub(super) async fn run(serve: Serve, mut config: Config) -> Result<(), Error> {
    if serve.found_new_issuer {
        config.found_new_issuer();
    }
    let telemetry = start_telemetry(config.telemetry.clone()).await?;
    if !config.service_links.is_empty() {
        let variables = config.service_links.join(" ");
        tracing::info!(variables, "environment variables of Kubernetes are ignored: they are of a Service and no settings");
    }
    let outcome = serve_until_stopped(config).await;
    end_telemetry(telemetry).await;
    outcome
}

async fn serve_until_stopped(config: Config) -> Result<(), Error> {
    let mut shutdown = Box::pin(told_to_stop(&[Stop::Interrupt, Stop::Terminate], || ())?);
    let others = OtherSignals::catch()?;
    let server = tokio::select! {
        built = Server::build(config, Arc::new(SystemClock)) => built?,
        _ = &mut shutdown => return Ok(()),
    };
    let beside = tokio::spawn(others.serve(server.reload()));
    server.run_until_signal(async { Some(shutdown.await) }).await;
    beside.abort();
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

/// A signal that ends a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Ctrl-C.
    Interrupt,
    Terminate,
    /// The terminal was closed.
    Hangup,
}

/// Waits for one of these signals, and gives its name. A second one ends the process at once, after `at_once`.
#[cfg(unix)]
pub(super) fn told_to_stop<F: FnOnce() + Send + 'static>(
    signals: &[Stop],
    at_once: F,
) -> Result<impl Future<Output = &'static str> + Send + use<F>, Error> {
    use tokio::signal::unix::{SignalKind, signal};

    let (told, mut next) = tokio::sync::mpsc::channel(2);
    for stop in signals {
        let (name, kind) = match stop {
            Stop::Interrupt => ("SIGINT", SignalKind::interrupt()),
            Stop::Terminate => ("SIGTERM", SignalKind::terminate()),
            Stop::Hangup => ("SIGHUP", SignalKind::hangup()),
        };
        let (mut signal, told) = (signal(kind).map_err(Error::Signals)?, told.clone());
        tokio::spawn(async move { while signal.recv().await.is_some() && told.send(name).await.is_ok() {} });
    }
    Ok(async move {
        // The senders live as long as the runtime.
        let first = next.recv().await.unwrap_or("none");
        tokio::spawn(async move {
            if next.recv().await.is_some() {
                at_once();
                process::exit(1);
            }
        });
        first
    })
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
pub(super) fn told_to_stop(_: &[Stop], _: impl FnOnce() + Send + 'static) -> Result<impl Future<Output = &'static str> + Send, Error> {
    Ok(async {
        // Where it cannot be waited for, the process goes on until it is ended from outside.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    })
}

/// Signals that do not end a server: SIGHUP makes it read its certificate again, SIGUSR1 and SIGUSR2 do nothing.
#[cfg(unix)]
struct OtherSignals([tokio::signal::unix::Signal; 3]);

#[cfg(unix)]
impl OtherSignals {
    fn catch() -> Result<Self, Error> {
        use tokio::signal::unix::{SignalKind, signal};

        let caught = |kind| signal(kind).map_err(Error::Signals);
        Ok(Self([caught(SignalKind::hangup())?, caught(SignalKind::user_defined1())?, caught(SignalKind::user_defined2())?]))
    }

    async fn serve(self, reload: Reload) {
        let [mut hangup, mut first, mut second] = self.0;
        loop {
            let ignored = tokio::select! {
                _ = hangup.recv() => None,
                _ = first.recv() => Some("SIGUSR1"),
                _ = second.recv() => Some("SIGUSR2"),
            };
            match ignored {
                None => reload.ask(),
                Some(signal) => tracing::info!(signal, "this signal means nothing here; it is ignored"),
            }
        }
    }
}

#[cfg(not(unix))]
struct OtherSignals;

#[cfg(not(unix))]
impl OtherSignals {
    fn catch() -> Result<Self, Error> {
        Ok(Self)
    }

    async fn serve(self, _: Reload) {}
}
