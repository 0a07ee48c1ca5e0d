//! `sealwright demo`: runs a throwaway issuer and an API, with clients and a user, and prints requests to paste.

mod data;
mod introduction;
mod orders;

use std::{fs::Permissions, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use super::{
    SettingFlags,
    error::Error,
    output::say,
    process::{Stop, end_telemetry, start_telemetry, stop_signal},
};
use crate::{
    clock::SystemClock,
    server::{Config, Server, config::Sources},
};
use data::{DemoData, RESOURCE};
use introduction::introduction;
use orders::OrdersApi;

/// Serves until a stop signal arrives. Reads neither the environment nor a configuration file: a demo is the same everywhere.
pub(super) async fn run(settings: SettingFlags) -> Result<(), Error> {
    if let Some(flag) = settings.file.as_ref().map(|_| "config").or_else(|| settings.names_any(&["database_url", "keys_dir", "issuer"])) {
        return Err(Error::NotInDemo(flag.replace('_', "-")));
    }
    if settings.names_any(&["api_docs"]).is_some() {
        return Err(Error::InvalidOption { option: "api-docs", why: "a demo begins with that page".to_owned() });
    }
    // With a umask of 0, everyone could write to the folder, and the server would refuse it.
    let private = Permissions::from_mode(0o700);
    // Dropping it removes the folder. A second signal, which ends the process at once, removes it too.
    let folder = tempfile::Builder::new().prefix("sealwright-demo-").permissions(private).tempdir().map_err(Error::DemoFolder)?;
    let path = folder.path().to_owned();
    let signals = [Stop::Interrupt, Stop::Terminate, Stop::Hangup];
    let shutdown = stop_signal(&signals, move || drop(std::fs::remove_dir_all(path)))?;
    let mut config = configure(&settings, folder.path(), None)?;
    let data = DemoData::register(&config).await?;
    let api = OrdersApi::open(config.listener().0).await?;
    let orders = api.url();
    config.show_in_docs(data.on_the_page(orders.clone()));

    let clock = Arc::new(SystemClock);
    let telemetry = config.telemetry.clone();
    let server = match Server::build(config, clock.clone()).await {
        Err(error) if error.is_address_in_use() && settings.names_any(&["listen"]).is_none() => {
            let free = SocketAddr::from(([127, 0, 0, 1], 0));
            let mut config = configure(&settings, folder.path(), Some(free))?;
            config.show_in_docs(data.on_the_page(orders.clone()));
            Server::build(config, clock).await?
        }
        built => built?,
    };
    let serving = api.serve(server.issuer().as_str(), RESOURCE)?;
    say(&introduction(&server, &data, &orders))?;
    let telemetry = start_telemetry(telemetry).await?;
    let serving = tokio::spawn(serving);
    server.run_until_signal(async { Some(shutdown.await) }).await;
    serving.abort();
    end_telemetry(telemetry).await;
    folder.close().map_err(Error::DemoFolder)?;
    Ok(())
}

/// The configuration from the given flags, with the database and the keys in `folder`.
fn configure(settings: &SettingFlags, folder: &Path, listen: Option<SocketAddr>) -> Result<Config, Error> {
    let own = |name: &str, value: String| (name.to_owned(), value);
    // A demo that ends does not wait long for open requests.
    let defaults = [("log_format", "text"), ("drain_timeout", "1s"), ("management_listen", "off")];
    let mut flags: Vec<_> = defaults.into_iter().map(|(name, value)| own(name, value.to_owned())).collect();
    flags.extend(settings.flags.iter().cloned());
    flags.push(own("database_url", format!("sqlite://{}", folder.join("sealwright.db").display())));
    flags.push(own("keys_dir", folder.join("keys").display().to_string()));
    flags.extend(listen.map(|listen| own("listen", listen.to_string())));
    Ok(Config::load(Sources { flags, ..Sources::default() })?)
}
