//! `sealwright serve`: runs the server until a signal stops it.

use std::{
    env,
    io::{self, IsTerminal, Write},
    process,
    sync::Arc,
};

use clap::Args;

use super::{SettingFlags, error::Error, progress, terminal::shell_quoted};
use crate::{
    clock::SystemClock,
    server::{Config, Reload, Server, telemetry},
};

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Create a new issuer in an empty database although a sealing key exists: abandons the issuer that the key belongs to
    #[arg(long)]
    found_new_issuer: bool,
}

pub(super) async fn run(serve: Serve, settings: SettingFlags) -> Result<(), Error> {
    let same_issuer = settings.repeated();
    let mut config = settings.load()?;
    if serve.found_new_issuer {
        config.found_new_issuer();
    }
    let telemetry = start_telemetry(config.telemetry.clone()).await?;
    if !config.service_links.is_empty() {
        let variables = config.service_links.join(" ");
        tracing::info!(variables, "ignored environment variables that Kubernetes sets for a Service: they are not settings");
    }
    let outcome = serve_until_stopped(config, &same_issuer).await;
    end_telemetry(telemetry).await;
    outcome
}

async fn serve_until_stopped(config: Config, same_issuer: &str) -> Result<(), Error> {
    let mut shutdown = Box::pin(stop_signal(&[Stop::Interrupt, Stop::Terminate], || ())?);
    let others = OtherSignals::install()?;
    let format = config.telemetry.format;
    let building = progress::announced(
        "still starting; the first start generates the signing key, which takes some seconds",
        Server::build(config, Arc::new(SystemClock)),
    );
    let server = tokio::select! {
        built = building => built?,
        _ = &mut shutdown => return Ok(()),
    };
    if server.is_unused().await {
        show_first_steps(same_issuer, format);
    }
    let signals = tokio::spawn(others.serve(server.reload()));
    server.run_until_signal(async { Some(shutdown.await) }).await;
    signals.abort();
    Ok(())
}

/// Says what to do with a server that has no resource yet. `same_issuer` holds the flags that make a command work on it.
fn show_first_steps(same_issuer: &str, format: telemetry::Format) {
    if format == telemetry::Format::Json || !io::stderr().is_terminal() {
        tracing::info!(
            "no client can get a token yet: create a resource (`sealwright resource create`), then a client (`sealwright client create`)"
        );
        return;
    }
    let program = env::args_os().next().map_or_else(|| "sealwright".to_owned(), |program| program.to_string_lossy().into_owned());
    let program =
        if program.contains(|c: char| !(c.is_ascii_alphanumeric() || "/._-".contains(c))) { shell_quoted(&program) } else { program };
    // Failures do not matter.
    let _ = write!(
        io::stderr(),
        r#"
No client can get a token yet. In another terminal, in this folder and with the
same SEALWRIGHT_ variables, create a resource (an API) and a client (an app):

  {program} resource create{same_issuer} https://orders.example --scope orders:read
  {program} client create{same_issuer} billing --grant client_credentials \
    --allow https://orders.example=orders:read

The second command prints the secret of the client, once.

"#
    );
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
struct OtherSignals([tokio::signal::unix::Signal; 3]);

#[cfg(unix)]
impl OtherSignals {
    fn install() -> Result<Self, Error> {
        use tokio::signal::unix::{SignalKind, signal};

        let handler = |kind| signal(kind).map_err(Error::Signals);
        Ok(Self([handler(SignalKind::hangup())?, handler(SignalKind::user_defined1())?, handler(SignalKind::user_defined2())?]))
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
                Some(signal) => tracing::info!(signal, "ignored a signal that has no meaning for this server"),
            }
        }
    }
}

#[cfg(not(unix))]
struct OtherSignals;

#[cfg(not(unix))]
impl OtherSignals {
    fn install() -> Result<Self, Error> {
        Ok(Self)
    }

    async fn serve(self, _: Reload) {}
}
