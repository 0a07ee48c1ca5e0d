//! `sealwright demo`: runs a throwaway issuer with a resource, an app and a user, and prints requests to paste.

use std::{collections::BTreeMap, env, net::SocketAddr, path::Path, sync::Arc};

use tempfile::TempDir;

use super::{
    SettingFlags,
    error::Error,
    output::say,
    serve::{Stop, end_telemetry, start_telemetry, stop_signal},
};
use crate::{
    clock::{Clock, SystemClock},
    entropy,
    protocol::{Audience, GrantType, Scope, ServerMetadata},
    server::{
        Config, Server,
        commands::{Act, Commands, NewClient, NewResource, NewSecret, NewUser, Password},
        config::Sources,
        http::Demo,
    },
};

const RESOURCE: &str = "https://orders.example";
const SCOPE: &str = "orders:read orders:write";
const CLIENT: &str = "billing";
const USER: &str = "alice";

/// Serves until a stop signal arrives. Reads neither the environment nor a configuration file: a demo is the same everywhere.
pub(super) async fn run(settings: SettingFlags) -> Result<(), Error> {
    if let Some(flag) = settings.file.as_ref().map(|_| "config").or_else(|| settings.names_any(&["database_url", "keys_dir", "issuer"])) {
        return Err(Error::NotInDemo(flag.replace('_', "-")));
    }
    // Dropping it removes the folder. A second signal, which ends the process at once, removes it too.
    let folder = TempDir::with_prefix("sealwright-demo-").map_err(Error::DemoFolder)?;
    let path = folder.path().to_owned();
    let signals = [Stop::Interrupt, Stop::Terminate, Stop::Hangup];
    let shutdown = stop_signal(&signals, move || drop(std::fs::remove_dir_all(path)))?;
    let mut config = configure(&settings, folder.path(), None)?;
    let data = populate(&config).await?;
    config.show_in_docs(data.docs_fields());

    let clock = Arc::new(SystemClock);
    let telemetry = config.telemetry.clone();
    let server = match Server::build(config, clock.clone()).await {
        Err(error) if error.is_address_in_use() && settings.names_any(&["listen"]).is_none() => {
            let free = SocketAddr::from(([127, 0, 0, 1], 0));
            let mut config = configure(&settings, folder.path(), Some(free))?;
            config.show_in_docs(data.docs_fields());
            Server::build(config, clock).await?
        }
        built => built?,
    };
    say(&introduction(&server, &data))?;
    let telemetry = start_telemetry(telemetry).await?;
    server.run_until_signal(async { Some(shutdown.await) }).await;
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

/// The generated credentials, which are only printed.
struct DemoData {
    secret: NewSecret,
    password: String,
}

impl DemoData {
    /// The values that the API's page shows in its fields.
    fn docs_fields(&self) -> Demo {
        Demo {
            client_id: CLIENT.to_owned(),
            client_secret: self.secret.expose().into(),
            username: USER.to_owned(),
            password: self.password.as_str().into(),
        }
    }
}

/// Registers one resource, one app and one user.
async fn populate(config: &Config) -> Result<DemoData, Error> {
    let commands = Commands::create(config.commands()).await?;
    let act = Act::of_process(SystemClock.now());
    let audience: Audience = RESOURCE.parse().expect("the demo's resource is valid");
    let scope: Scope = SCOPE.parse().expect("the demo's scope is valid");
    let permissions = BTreeMap::from([(audience.clone(), scope.clone())]);
    commands.resources().create(&act, NewResource { audience, scope, token_lifetime: None }).await?;
    let client = NewClient {
        id: CLIENT.parse().expect("the demo's client id is valid"),
        auth_methods: [].into(),
        grants: GrantType::ALL.iter().copied().collect(),
        permissions: permissions.clone(),
        introspects: [].into(),
        token_lifetime: None,
        secret_lifetime: None,
    };
    let (_, secret) = commands.clients().create(&act, client).await?;
    let password = entropy::unique_id();
    let user = NewUser {
        username: USER.parse().expect("the demo's user name is valid"),
        password: Password::parse(&password).expect("base64url is a valid password"),
        permissions,
    };
    commands.users().create(&act, user).await?;
    commands.close().await;
    Ok(DemoData { secret, password })
}

/// The text that is printed. Every request can be pasted as it is, from any folder.
fn introduction(server: &Server, data: &DemoData) -> String {
    let issuer = server.issuer();
    let program = env::current_exe().map_or_else(|_| "sealwright".to_owned(), |path| quoted(&path.display().to_string()));
    let app = format!("curl -sS -u '{CLIENT}:{}'", data.secret.expose());
    let docs = issuer.endpoint("/docs");
    let token_url = issuer.endpoint(ServerMetadata::TOKEN_ROUTE);
    let revocation_url = issuer.endpoint(ServerMetadata::REVOCATION_ROUTE);
    let jwks_url = issuer.endpoint(ServerMetadata::JWKS_ROUTE);
    let token = format!("{app} -d grant_type=client_credentials {token_url}");
    let sign_in = format!("{app} -d grant_type=password -d username={USER} --data-urlencode 'password={}' {token_url}", data.password);
    let refresh_token = r#"sed -n 's/.*"refresh_token":"\([^"]*\)".*/\1/p' | tr -d '\n'"#;
    format!(
        "
Sealwright issues tokens at {issuer}

  resource  {RESOURCE}, which owns the scopes {SCOPE}
  app       {CLIENT}, which may have both scopes
  user      {USER}, who may have both scopes too

Open {docs} for the description of the API and a button that gets your first token.

Or paste these into another terminal.

The app exchanges its secret for a token:

  {token}

An API fetches the keys that verify it:

  curl -sS {jwks_url}

What the token says:

  {token} | {program} token inspect -

Verify it, check by check, as the API {RESOURCE} would:

  {token} | {program} token verify - --issuer {issuer} --audience {RESOURCE}

A user signs in with the app:

  {sign_in}

They sign in, and stay signed in with the refresh token:

  {sign_in} | {refresh_token} | {app} -d grant_type=refresh_token --data-urlencode refresh_token@- {token_url}

They sign in and sign out (the answer is an empty 200):

  {sign_in} | {refresh_token} | {app} -w '%{{http_code}}\\n' --data-urlencode token@- {revocation_url}

Ctrl-C ends the demo and removes its files. Until then, each request logs one line:
"
    )
}

/// Quotes a path for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
