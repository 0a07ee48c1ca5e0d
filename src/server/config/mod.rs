//! The configuration: the settings of all rooms in one table. Each room reads its own policy from it.

use std::net::SocketAddr;

pub(crate) use super::settings::{CLIENT_SECRET, Program, USER_PASSWORD, parse_duration};
pub use super::settings::{Error, Setting, Sources};

use super::{
    commands, edge, http, issuer, keys, limits, logins, passwords, process, registry, revocation,
    settings::{by_rule, count, joined, setting},
    store, telemetry,
};
use crate::protocol::Issuer;

/// A valid configuration: every value was parsed and is in range.
#[derive(Debug, Clone)]
pub struct Config {
    /// `None`: `http://localhost` with the port of the listener.
    pub(crate) issuer: Option<Issuer>,
    pub(crate) http: http::Policy,
    pub(crate) management: process::ManagementPolicy,
    pub(crate) store: store::Policy,
    pub(crate) keys: keys::Policy,
    pub(crate) registry: registry::Policy,
    pub(crate) tokens: issuer::Policy,
    pub(crate) logins: logins::Policy,
    pub(crate) revocation: revocation::Policy,
    pub(crate) passwords: passwords::PasswordRules,
    pub(crate) telemetry: telemetry::Policy,
    /// Ignored environment variables: Kubernetes sets them for a Service whose name begins with `sealwright`.
    pub(crate) service_links: Vec<String>,
}

/// The settings of the server, and where they are set.
pub(crate) const PROGRAM: Program = Program { settings: SETTINGS, prefix: Program::SERVER, file: "sealwright.toml" };

/// All settings, in the order in which they are listed. The command line, the environment, the file and the error messages follow this table.
pub const SETTINGS: &[Setting] = &joined::<{ count(TABLES) }>(TABLES);

const TABLES: &[&[Setting]] = &[
    Config::SETTINGS,
    http::Policy::LISTEN,
    process::ListenerPolicy::CONNECTIONS,
    &process::ManagementPolicy::settings("127.0.0.1:8081"),
    store::Policy::SETTINGS,
    keys::Policy::SETTINGS,
    TOKENS.0,
    REGISTRY.0,
    http::Policy::API_DOCS,
    REGISTRY.1,
    TOKENS.1,
    logins::Policy::SETTINGS,
    revocation::Policy::SETTINGS,
    passwords::PasswordRules::SETTINGS,
    passwords::HashingPolicy::SETTINGS,
    limits::Policy::SETTINGS,
    process::ListenerPolicy::DRAIN,
    telemetry::Policy::SETTINGS,
];
// The first setting of each of these is listed apart from the others.
const TOKENS: (&[Setting], &[Setting]) = issuer::Policy::SETTINGS.split_at(1);
const REGISTRY: (&[Setting], &[Setting]) = registry::Policy::SETTINGS.split_at(1);

impl Config {
    /// Those that belong to no room below.
    const SETTINGS: &'static [Setting] = &[setting(
        "issuer",
        None,
        "the issuer identifier of all tokens, whose path is the prefix of all routes; by default http://localhost with the listener's port",
        "an https URL without query and fragment, such as https://auth.example",
    )];

    /// Puts the credentials of a demo, which are not secret, into the fields of the API's page.
    pub(crate) fn show_in_docs(&mut self, demo: http::Demo) {
        self.http.api_docs.demo = Some(demo);
    }

    /// The part of the configuration that commands need.
    #[doc(hidden)]
    #[must_use]
    pub fn commands(&self) -> commands::Policy {
        commands::Policy {
            issuer: self.issuer.clone(),
            store: self.store.clone(),
            keys: self.keys.clone(),
            passwords: self.passwords.clone(),
            hashing: self.registry.hashing,
        }
    }

    /// The address of the listener, and whether it serves TLS itself.
    pub(crate) const fn listener(&self) -> (SocketAddr, bool) {
        (self.http.listener.listen, self.http.listener.tls.is_some())
    }

    /// Its certificate and key, if it serves TLS itself.
    pub(crate) const fn tls_files(&self) -> Option<&edge::TlsFiles> {
        self.http.listener.tls.as_ref()
    }

    /// The path that all routes are under.
    pub(crate) fn issuer_path(&self) -> &str {
        self.issuer.as_ref().map_or("", Issuer::path)
    }

    /// Allows a server to create a new issuer in an empty database although a sealing key of an earlier one exists. It is not a setting
    /// because it applies to one start.
    pub fn found_new_issuer(&mut self) {
        self.keys.found_new_issuer = true;
    }

    /// Loads the configuration. Refuses unknown settings and values out of range.
    ///
    /// ```
    /// use sealwright::server::{Config, config::Sources};
    ///
    /// let flags = [("listen".to_owned(), "127.0.0.1:0".to_owned())];
    /// assert!(Config::load(Sources { flags: flags.into(), ..Sources::default() }).is_ok());
    ///
    /// let flags = [("listne".to_owned(), "127.0.0.1:0".to_owned())];
    /// let error = Config::load(Sources { flags: flags.into(), ..Sources::default() }).unwrap_err();
    /// assert_eq!(error.to_string(), "unknown setting listne (from a flag); did you mean listen?");
    /// ```
    ///
    /// # Errors
    ///
    /// If a source cannot be read, a name is unknown, or a value is not allowed.
    pub fn load(sources: Sources) -> Result<Self, Error> {
        let values = sources.read(PROGRAM)?;
        let issuer: Option<Issuer> = values.parse_if_any("issuer", |text| text.parse().map_err(by_rule))?;
        Ok(Self {
            http: http::Policy::read(&values, issuer.as_ref())?,
            management: process::ManagementPolicy::read(&values)?,
            store: store::Policy::read(&values)?,
            keys: keys::Policy::read(&values)?,
            registry: registry::Policy::read(&values)?,
            tokens: issuer::Policy::read(&values)?,
            logins: logins::Policy::read(&values)?,
            revocation: revocation::Policy::read(&values)?,
            passwords: passwords::PasswordRules::read(&values, issuer.as_ref())?,
            telemetry: telemetry::Policy::read(&values)?,
            service_links: values.service_links,
            issuer,
        })
    }
}
