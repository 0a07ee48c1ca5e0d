//! `sealwright demo`: runs a throwaway issuer with a resource, an app and a user, and prints requests to paste.

use std::{collections::BTreeMap, env, net::SocketAddr, path::Path, sync::Arc};

use tempfile::TempDir;

use super::{
    SettingFlags,
    error::Error,
    output::say,
    process::{Stop, end_telemetry, start_telemetry, stop_signal},
    terminal::shell_quoted,
};
use crate::{
    clock::{Clock, SystemClock},
    entropy,
    protocol::{Algorithm, Audience, GrantType, Scope, ServerMetadata},
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
    let new = NewResource {
        audience,
        scope,
        token_lifetime: None,
        algorithm: Algorithm::Rs256,
        fixed_claims: Default::default(),
        claims: [].into(),
    };
    commands.resources().create(&act, new).await?;
    let client = NewClient {
        id: CLIENT.parse().expect("the demo's client id is valid"),
        auth_methods: [].into(),
        grants: GrantType::ALL.iter().copied().collect(),
        permissions: permissions.clone(),
        introspects: [].into(),
        token_lifetime: None,
        fixed_claims: Default::default(),
        secret_lifetime: None,
    };
    let (_, secret) = commands.clients().create(&act, client).await?;
    let password = entropy::unique_id();
    let user = NewUser {
        username: USER.parse().expect("the demo's user name is valid"),
        password: Password::parse(&password).expect("base64url is a valid password"),
        permissions,
        attributes: Default::default(),
    };
    commands.users().create(&act, user).await?;
    commands.close().await;
    Ok(DemoData { secret, password })
}

/// The text that is printed. The commands can be pasted as they are and in this order, from any folder.
fn introduction(server: &Server, data: &DemoData) -> String {
    let issuer = server.issuer();
    let docs = issuer.endpoint("/docs");
    let (token, revocation, jwks) = (ServerMetadata::TOKEN_ROUTE, ServerMetadata::REVOCATION_ROUTE, ServerMetadata::JWKS_ROUTE);
    let program = env::current_exe().map_or_else(|_| "sealwright".to_owned(), |path| shell_quoted(&path.display().to_string()));
    let (secret, password) = (data.secret.expose(), &data.password);
    format!(
        r#"
Sealwright issues tokens at {issuer}

  resource  {RESOURCE}, which owns the scopes {SCOPE}
  app       {CLIENT}, which may have both scopes
  user      {USER}, who may have both scopes too

Open {docs} for the API's description and a button that gets your first token.

Or paste these into another terminal, from top to bottom. First what all of them use:

  ISSUER={issuer}
  APP='{CLIENT}:{secret}'
  PASSWORD='{password}'
  SEALWRIGHT={program}

The app exchanges its secret for a token:

  ANSWER=$(curl -sS -u "$APP" -d grant_type=client_credentials $ISSUER{token})
  echo "$ANSWER"

The app sends the access_token to the API with each request, for expires_in seconds.
The API lets it do what the scope says.

An API fetches the keys that verify it:

  curl -sS $ISSUER{jwks}

These are public. Each has a kid, and the token names the one that signed it.

What the token says:

  echo "$ANSWER" | "$SEALWRIGHT" token inspect -

iss is who issued it, aud the API that it is for, client_id the app, exp the time when it ends.

Verify it, check by check, as the API {RESOURCE} would:

  echo "$ANSWER" | "$SEALWRIGHT" token verify - --issuer $ISSUER --audience {RESOURCE}

The API accepts the token, because each check is ok. No check asks the issuer about this token.

A user signs in with the app:

  FORM="grant_type=password&username={USER}&password=$PASSWORD"
  LOGIN=$(curl -sS -u "$APP" -d "$FORM" $ISSUER{token})
  echo "$LOGIN"

The access_token is for {USER}. The app keeps the refresh_token, and does not keep the password.

They stay signed in with the refresh token:

  REFRESH=$(echo "$LOGIN" | sed -n 's/.*"refresh_token":"\([^"]*\)".*/\1/p')
  FORM="grant_type=refresh_token&refresh_token=$REFRESH"
  curl -sS -u "$APP" -d "$FORM" $ISSUER{token}

The answer has a new access_token, and the refresh_token for the next time.

They sign out:

  curl -sS -u "$APP" -d "token=$REFRESH" -w '%{{http_code}}\n' $ISSUER{revocation}

200 means that the login has ended: no refresh token of it gets a token any more.

Ctrl-C ends the demo and removes its files. Until then, each request logs one line:
"#
    )
}
