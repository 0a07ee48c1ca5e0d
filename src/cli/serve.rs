//! `sealwright serve`: runs the server until a signal stops it.

use std::{
    env,
    io::{self, IsTerminal, Write},
    sync::Arc,
};

use clap::Args;

use super::{
    SettingFlags,
    error::Error,
    process::{OtherSignals, Stop, logging, stop_signal},
    progress,
    terminal::shell_quoted,
};
use crate::{
    clock::SystemClock,
    server::{Config, Server, telemetry},
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
    let (telemetry, service_links) = (config.telemetry.clone(), config.service_links.clone());
    logging(telemetry, &service_links, serve_until_stopped(config, &same_issuer)).await
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
