//! The settings of `sealwright attach`.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use super::{
    listen::ListenAt,
    route::{OtherClient, OtherProof, RouteError, Routes},
};
use crate::{
    client::{Builder, Credentials, PrivateKey, Proof, Secret},
    protocol::{Audience, ClientId, Issuer, ScopeToken},
    proxy::TimeLimits,
    server::{
        caller_text,
        custody::{self, SecretFile},
        edge::{ConnectionLimits, Drain, Traffic},
        process::{ListenerPolicy, ManagementPolicy},
        settings::{
            CLIENT_SECRET, Error, Program, Setting, Sources, USER_PASSWORD, Values, boolean, by_rule, count, duration, joined, number,
            path, setting,
        },
        telemetry,
    },
};

/// The settings of this program, and where they are set.
pub(crate) const PROGRAM: Program = Program { settings: SETTINGS, prefix: Program::ATTACH, file: "sealwright-attach.toml" };

/// All settings, in the order in which they are listed.
pub const SETTINGS: &[Setting] = &joined::<{ count(TABLES) }>(TABLES);

const TABLES: &[&[Setting]] =
    &[Config::SETTINGS, &ManagementPolicy::settings("127.0.0.1:9190"), ListenerPolicy::DRAIN, telemetry::Policy::SETTINGS];

/// How long fetching a token may take.
const TOKEN_TIME_LIMIT: Duration = Duration::from_secs(10);

/// A valid configuration: every value was parsed and is in range.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the listener is that paths are for.
    pub(super) listen: ListenAt,
    /// The mode of Unix sockets.
    pub(super) socket_mode: u32,
    pub(super) routes: Routes,
    pub(super) client: Client,
    pub(super) authorization: Authorization,
    pub(super) connections: usize,
    pub(super) time_limits: TimeLimits,
    pub(super) management: ManagementPolicy,
    pub(super) drain: Drain,
    pub(crate) telemetry: telemetry::Policy,
    /// Ignored environment variables that Kubernetes sets.
    pub(crate) service_links: Vec<String>,
}

/// What to do with a request that has an `Authorization` of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Authorization {
    Refuse,
    Replace,
}

/// The client whose tokens are attached, and for which user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Client {
    issuer: Issuer,
    id: ClientId,
    proof: ProofAt,
    /// The name and the password of the user whom it signs in.
    user: Option<(String, SecretAt)>,
}

/// What the client proves its identity with.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ProofAt {
    Secret(SecretAt),
    /// The file of a private key.
    Key(PathBuf),
}

/// Where a secret is. It is read for every token request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum SecretAt {
    File(PathBuf),
    Variable(&'static str),
}

impl Config {
    const SETTINGS: &'static [Setting] = &[
        setting(
            "to",
            None,
            "where requests go, and for which resource and scopes their tokens are",
            "routes such as https://orders.example, or /orders=https://orders.example resource=https://orders.example scope=orders:read, or 127.0.0.1:9101=https://stock.example",
        )
        .list(),
        setting(
            "listen",
            Some("127.0.0.1:9100"),
            "where the app sends its requests; every process that reaches it acts as the client",
            "a loopback address with a port, or unix:PATH",
        ),
        setting("socket_mode", Some("0600"), "who may connect to a Unix socket: its user, its group, or everyone", "0600, 0660 or 0666"),
        setting("issuer", None, "the issuer of the tokens, as in its metadata", "an https URL, such as https://auth.example"),
        setting("client", None, "the client whose tokens are attached", "a client id"),
        setting(
            "secret_file",
            None,
            "the file of the client's secret, read for every token request; by default, the secret is in the variable SEALWRIGHT_CLIENT_SECRET",
            "a path",
        ),
        setting(
            "key_file",
            None,
            "the file of the client's private key, with which it authenticates instead of a secret; read for every token request",
            "a path to a file in PEM that others cannot read",
        ),
        setting("username", None, "the user to sign in; by default, tokens are the client's own", "a user name"),
        setting(
            "password_file",
            None,
            "the file of the user's password; by default, the password is in the variable SEALWRIGHT_USER_PASSWORD",
            "a path",
        ),
        setting("resource", None, "the resource, if there is one origin; by default, the issuer chooses it by the scopes", "the audience of an API"),
        setting("scope", None, "the scopes of routes that name none; by default, all that the client may have", "scope tokens").list(),
        setting(
            "authorization",
            Some("refuse"),
            "what happens to a request that has an Authorization header already",
            "refuse (it is answered 400) or replace",
        ),
        setting(
            "to_unprotected",
            Some("false"),
            "whether origins beyond this machine may be http, where others can read the tokens",
            "true or false",
        ),
        setting("connections", Some("1024"), "maximum number of open connections from the app, per listener", "a number from 1 to 100000"),
        setting("connect_timeout", Some("5s"), "how long connecting to an origin may take", "a duration from 100ms to 5m"),
        setting(
            "answer_timeout",
            Some("60s"),
            "how long an origin may take to begin its answer after it has received a request",
            "a duration from 100ms to 1day",
        ),
        setting(
            "idle_timeout",
            Some("5m"),
            "how long a body may pause, and an upgraded connection such as a WebSocket may be silent in both directions",
            "a duration from 1s to 1day",
        ),
    ];

    /// Loads the configuration. Refuses unknown settings, values out of range, and settings that could send a token to the wrong party.
    ///
    /// # Errors
    ///
    /// If a source cannot be read, a name is unknown, or a value is not allowed.
    pub fn load(sources: Sources) -> Result<Self, Error> {
        let values = sources.read(PROGRAM)?;
        refuse_secrets(&values)?;
        let limit = |name, least, most| values.parse(name, duration(least, most));
        let connect = limit("connect_timeout", Duration::from_millis(100), Duration::from_secs(300))?;
        let answer = limit("answer_timeout", Duration::from_millis(100), Duration::from_secs(24 * 3600))?;
        let idle = limit("idle_timeout", Duration::from_secs(1), Duration::from_secs(24 * 3600))?;
        let listen = values.parse("listen", |text| text.parse::<ListenAt>().map_err(|error| Some(error.to_string())))?;
        let client = Client::read(&values)?;
        Ok(Self {
            routes: routes(&values, &listen)?,
            listen,
            socket_mode: values.parse("socket_mode", socket_mode)?,
            client,
            authorization: values.parse("authorization", |text| Authorization::parse(text).ok_or(None))?,
            connections: values.parse("connections", number(1, 100_000))?,
            time_limits: TimeLimits::new(connect, answer, idle).ok_or_else(|| values.refuse("answer_timeout", None))?,
            management: ManagementPolicy::read(&values)?,
            drain: ListenerPolicy::read_drain(&values)?,
            telemetry: telemetry::Policy::read(&values)?,
            service_links: values.service_links,
        })
    }

    /// The address of metrics and health checks by these sources; `None` if they are off. The other settings may be elsewhere, for example in
    /// the flags of the process that runs.
    pub(crate) fn management_listen(sources: Sources) -> Result<Option<SocketAddr>, Error> {
        Ok(ManagementPolicy::read(&sources.read(PROGRAM)?)?.listen)
    }

    /// The limits of connections from the app, for each of so many listeners, which share the file descriptors of the process.
    pub(super) fn connection_limits(&self, listeners: usize) -> ConnectionLimits {
        let total = self.connections * listeners;
        // Longer than all that a request may wait for before a byte of its answer, twice if the origin refuses the token: each of these limits
        // then ends its wait first, with an answer that says why.
        let quiet = (TOKEN_TIME_LIMIT + self.time_limits.quiet()) * 2;
        let all = ConnectionLimits {
            total,
            // Every connection comes from this machine, which is exempt: see `program`.
            per_source: total,
            idle: Duration::from_secs(75),
            age: Duration::from_secs(24 * 3600),
            traffic: Traffic::Streams { quiet },
        }
        .affordable();
        ConnectionLimits { total: (all.total / listeners).max(1), ..all }
    }
}

impl Authorization {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "refuse" => Some(Self::Refuse),
            "replace" => Some(Self::Replace),
            _ => None,
        }
    }
}

impl Client {
    fn read(values: &Values) -> Result<Self, Error> {
        let secret = |setting, variable| -> Result<SecretAt, Error> {
            let file = values.parse_if_any(setting, path)?;
            let Some(file) = file else { return Ok(SecretAt::Variable(variable)) };
            let exposed = custody::require_private(SecretFile::Value, &file);
            exposed.map_err(|exposed| values.refuse(setting, Some(exposed.to_string())))?;
            Ok(SecretAt::File(file))
        };
        let username: Option<String> = values.parse_if_any("username", |text| Ok(text.to_owned()))?;
        let password = secret("password_file", USER_PASSWORD)?;
        if username.is_none() && matches!(password, SecretAt::File(_)) {
            return Err(values.refuse("password_file", Some("it requires username too".to_owned())));
        }
        let key_file = values.parse_if_any("key_file", path)?;
        if let Some(file) = &key_file {
            if values.parse_if_any("secret_file", path)?.is_some() {
                return Err(values.refuse("key_file", Some("secret_file is set too: the client has a key or a secret".to_owned())));
            }
            let exposed = custody::require_private(SecretFile::PrivateKey, file);
            exposed.map_err(|exposed| values.refuse("key_file", Some(exposed.to_string())))?;
        }
        let proof = match key_file {
            Some(file) => ProofAt::Key(file),
            None => ProofAt::Secret(secret("secret_file", CLIENT_SECRET)?),
        };
        Ok(Self {
            issuer: values.parse("issuer", |text| text.parse::<Issuer>().map_err(by_rule))?,
            id: values.parse("client", |text| text.parse::<ClientId>().map_err(by_rule))?,
            proof,
            user: username.map(|name| (name, password)),
        })
    }

    /// The client that a route names, of the same issuer. It acts for itself.
    pub(super) fn replaced_by(&self, other: &OtherClient) -> Self {
        let proof = match &other.proof {
            OtherProof::Secret(file) => ProofAt::Secret(SecretAt::File(file.clone())),
            OtherProof::Key(file) => ProofAt::Key(file.clone()),
        };
        Self { issuer: self.issuer.clone(), id: other.id.clone(), proof, user: None }
    }

    pub(super) const fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    pub(super) fn builder(&self) -> Builder {
        let proof: Proof = match &self.proof {
            ProofAt::Secret(secret) => secret.secret().into(),
            ProofAt::Key(file) => PrivateKey::file(file).into(),
        };
        let builder = match &self.user {
            Some((name, password)) => Credentials::password(self.id.as_str(), proof, name, password.secret()),
            None => Credentials::client(self.id.as_str(), proof),
        };
        builder.issuer(self.issuer.as_str()).fetch_timeout(TOKEN_TIME_LIMIT)
    }
}

impl SecretAt {
    fn secret(&self) -> Secret {
        match self {
            Self::File(path) => Secret::file(path),
            Self::Variable(name) => Secret::env(*name),
        }
    }
}

/// Refuses a secret that stands where a name should, for example because the client and its secret were swapped: it would be sent to the
/// issuer in the wrong field, and be written to the log.
fn refuse_secrets(values: &Values) -> Result<(), Error> {
    for setting in Config::SETTINGS {
        values.parse_if_any(setting.name, |text| {
            let why = || {
                Some(
                    "it contains a secret, which belongs into a file or a variable: replace the secret, others may have seen it".to_owned(),
                )
            };
            if caller_text::holds_secret(text) { Err(why()) } else { Ok(()) }
        })?;
    }
    Ok(())
}

fn socket_mode(text: &str) -> Result<u32, Option<String>> {
    match text {
        "0600" => Ok(0o600),
        "0660" => Ok(0o660),
        "0666" => Ok(0o666),
        _ => Err(None),
    }
}

fn routes(values: &Values, listen: &ListenAt) -> Result<Routes, Error> {
    let resource = values.parse_if_any("resource", |text| text.parse::<Audience>().map_err(by_rule))?;
    let scope = |text: &str| text.parse::<ScopeToken>().map_err(by_rule);
    let scopes = values.parse_if_any("scope", |text| text.split_ascii_whitespace().map(scope).collect::<Result<BTreeSet<_>, _>>())?;
    let unprotected: bool = values.parse("to_unprotected", boolean)?;
    let reason = |error: RouteError| Some(error.to_string());
    let routes = values.parse("to", |text| text.parse::<Routes>().map_err(reason))?;
    let complete = routes.with_defaults(resource.as_ref(), &scopes.unwrap_or_default());
    let complete = complete.and_then(|routes| routes.protected(unprotected)?.beside(listen));
    let routes = complete.map_err(|error| values.refuse("to", reason(error)))?;
    for proof in routes.proofs() {
        let exposed = match proof {
            OtherProof::Secret(file) => custody::require_private(SecretFile::Value, file),
            OtherProof::Key(file) => custody::require_private(SecretFile::PrivateKey, file),
        };
        exposed.map_err(|exposed| values.refuse("to", Some(exposed.to_string())))?;
    }
    Ok(routes)
}
