//! `sealwright demo`: a throwaway issuer with a resource and an app, and requests to paste.

use std::{collections::BTreeMap, env, net::SocketAddr, path::Path, sync::Arc};

use tempfile::TempDir;

use super::{SettingFlags, error::Error, output::say, serve::told_to_stop};
use crate::{
    clock::{Clock, SystemClock},
    protocol::{Audience, AuthMethod, GrantType, Scope, ServerMetadata},
    server::{
        Config, Server,
        config::Sources,
        model::{Client, Permission, Resource},
        registry::{self, NewSecret},
        store::{Opening, Store},
        telemetry,
    },
};

const RESOURCE: &str = "https://orders.example";
const SCOPE: &str = "orders:read orders:write";
const CLIENT: &str = "billing";

/// Serves until told to stop. Neither environment nor configuration file is read: a demo is the same everywhere.
pub(super) async fn run(settings: SettingFlags) -> Result<(), Error> {
    let shutdown = told_to_stop()?;
    // Dropping it removes all that is in it.
    let folder = TempDir::with_prefix("sealwright-demo-").map_err(Error::DemoFolder)?;
    let config = configure(&settings, folder.path(), None)?;
    let secret = furnish(&config).await?;

    let clock = Arc::new(SystemClock);
    let telemetry = config.telemetry.clone();
    let server = match Server::build(config, clock.clone()).await {
        Err(error) if error.is_address_in_use() && !settings.flags.iter().any(|(name, _)| name == "listen") => {
            let free = SocketAddr::from(([127, 0, 0, 1], 0));
            Server::build(configure(&settings, folder.path(), Some(free))?, clock).await?
        }
        built => built?,
    };
    say(&introduction(&server, &secret))?;
    telemetry::init(&telemetry);
    server.run_until(shutdown).await;
    folder.close().map_err(Error::DemoFolder)?;
    Ok(())
}

/// The flags that were given, with everything that is kept going into `folder`.
fn configure(settings: &SettingFlags, folder: &Path, listen: Option<SocketAddr>) -> Result<Config, Error> {
    let own = |name: &str, value: String| (name.to_owned(), value);
    let mut flags = vec![own("log_format", "text".to_owned())];
    flags.extend(settings.flags.iter().cloned());
    flags.push(own("database_url", format!("sqlite://{}", folder.join("sealwright.db").display())));
    flags.push(own("keys_dir", folder.join("keys").display().to_string()));
    flags.extend(listen.map(|listen| own("listen", listen.to_string())));
    Ok(Config::load(Sources { flags, ..Sources::default() })?)
}

/// Registers one resource and one app.
async fn furnish(config: &Config) -> Result<NewSecret, Error> {
    let store = Store::open(&config.store, Opening::Found).await?;
    let now = SystemClock.now();
    let audience: Audience = RESOURCE.parse().expect("the demo's resource is lawful");
    let scope: Scope = SCOPE.parse().expect("the demo's scope is lawful");
    store.insert_resource(Resource { audience: audience.clone(), scope: scope.clone(), token_lifetime: None, created_at: now }).await?;
    let client = Client {
        id: CLIENT.parse().expect("the demo's client id is lawful"),
        auth_methods: AuthMethod::ALL.iter().copied().collect(),
        grants: [GrantType::ClientCredentials].into(),
        permissions: BTreeMap::from([(audience, Permission { scope, token_lifetime: None })]),
        introspects: [].into(),
        token_lifetime: None,
        created_at: now,
        disabled_at: None,
        secrets: Vec::new(),
    };
    let (_, secret) = registry::register_client(&store, client, None).await?;
    store.close().await;
    Ok(secret)
}

/// What is printed: every request can be pasted as it stands, from any folder.
fn introduction(server: &Server, secret: &NewSecret) -> String {
    let issuer = server.issuer();
    let program = env::current_exe().map_or_else(|_| "sealwright".to_owned(), |path| quoted(&path.display().to_string()));
    let token = format!(
        "curl -sS -u '{CLIENT}:{}' -d grant_type=client_credentials {}",
        secret.secret.expose(),
        issuer.endpoint(ServerMetadata::TOKEN_ROUTE)
    );
    let jwks = issuer.endpoint(ServerMetadata::JWKS_ROUTE);
    format!(
        "
Sealwright issues tokens at {issuer}

  resource  {RESOURCE}, which owns the scopes {SCOPE}
  app       {CLIENT}, which may have both

Paste these into another terminal.

The app exchanges its secret for a token:

  {token}

An API fetches the keys that check it:

  curl -sS {jwks}

What the token says:

  {token} | {program} token inspect -

Ctrl-C ends the demo and leaves nothing behind. Until then, a line per request:
"
    )
}

/// For a shell, whatever the path holds.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
