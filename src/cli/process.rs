//! What every command that serves does around it: logging, traces and signals.

use std::process;

use super::error::Error;
use crate::server::{Reload, telemetry};

/// Runs `serving` with logging and, if configured, tracing. `service_links` are the environment variables that were ignored.
pub(super) async fn logging(
    policy: telemetry::Policy,
    service_links: &[String],
    serving: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    let telemetry = start_telemetry(policy).await?;
    if !service_links.is_empty() {
        let variables = service_links.join(" ");
        tracing::info!(variables, "ignored environment variables that Kubernetes sets for a Service: they are not settings");
    }
    let outcome = serving.await;
    end_telemetry(telemetry).await;
    outcome
}

/// Starts logging and, if configured, tracing.
pub(super) async fn start_telemetry(policy: telemetry::Policy) -> Result<telemetry::Telemetry, Error> {
    let started = tokio::task::spawn_blocking(move || telemetry::init(&policy)).await;
    Ok(started.map_err(|error| Error::Runtime(error.into()))??)
}

/// Writes the remaining log lines and sends the remaining spans.
pub(super) async fn end_telemetry(telemetry: telemetry::Telemetry) {
    // It fails only if the drop panics; there is nothing left to do then.
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

/// Waits for one of these signals and returns its name. A second one calls `at_once` and ends the process immediately.
#[cfg(unix)]
pub(super) fn stop_signal<F: FnOnce() + Send + 'static>(
    signals: &[Stop],
    at_once: F,
) -> Result<impl Future<Output = &'static str> + Send + use<F>, Error> {
    use tokio::signal::unix::{SignalKind, signal};

    let (sender, mut received) = tokio::sync::mpsc::channel(2);
    for stop in signals {
        let (name, kind) = match stop {
            Stop::Interrupt => ("SIGINT", SignalKind::interrupt()),
            Stop::Terminate => ("SIGTERM", SignalKind::terminate()),
            Stop::Hangup => ("SIGHUP", SignalKind::hangup()),
        };
        let (mut signal, sender) = (signal(kind).map_err(Error::Signals)?, sender.clone());
        tokio::spawn(async move { while signal.recv().await.is_some() && sender.send(name).await.is_ok() {} });
    }
    Ok(async move {
        // The senders live as long as the runtime.
        let first = received.recv().await.unwrap_or("none");
        tokio::spawn(async move {
            if received.recv().await.is_some() {
                at_once();
                process::exit(1);
            }
        });
        first
    })
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
pub(super) fn stop_signal(_: &[Stop], _: impl FnOnce() + Send + 'static) -> Result<impl Future<Output = &'static str> + Send, Error> {
    Ok(async {
        // If no handler can be installed, the process runs until it is killed.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    })
}

/// Signals that do not stop a server: SIGHUP reloads the certificate, SIGUSR1 and SIGUSR2 are ignored.
#[cfg(unix)]
pub(super) struct OtherSignals([tokio::signal::unix::Signal; 3]);

#[cfg(unix)]
impl OtherSignals {
    pub(super) fn install() -> Result<Self, Error> {
        use tokio::signal::unix::{SignalKind, signal};

        let handler = |kind| signal(kind).map_err(Error::Signals);
        Ok(Self([handler(SignalKind::hangup())?, handler(SignalKind::user_defined1())?, handler(SignalKind::user_defined2())?]))
    }

    pub(super) async fn serve(self, reload: Reload) {
        let [mut hangup, mut first, mut second] = self.0;
        loop {
            let ignored = tokio::select! {
                _ = hangup.recv() => None,
                _ = first.recv() => Some("SIGUSR1"),
                _ = second.recv() => Some("SIGUSR2"),
            };
            match ignored {
                None => reload.ask(),
                Some(signal) => tracing::info!(signal, "ignored a signal that has no meaning for this server"),
            }
        }
    }
}

#[cfg(not(unix))]
pub(super) struct OtherSignals;

#[cfg(not(unix))]
impl OtherSignals {
    pub(super) fn install() -> Result<Self, Error> {
        Ok(Self)
    }

    pub(super) async fn serve(self, _: Reload) {}
}
