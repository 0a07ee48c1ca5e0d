//! Configuration: flags over environment over a file over defaults. Each room defines its own policy; this module fills them in.

mod service_links;
mod settings;
mod sources;
mod values;

use std::{fmt::Display, net::SocketAddr, num::NonZeroU32, path::PathBuf, str::FromStr, time::Duration};

pub use settings::{SETTINGS, Setting};
pub use sources::Sources;

use values::{Values, Why};

use secrecy::SecretString;

use super::{
    commands, edge, http, issuer, keys, limits, logins,
    model::TokenLifetime,
    passwords, registry,
    store::{self, DatabaseTls, DatabaseUrl},
    telemetry,
};
use crate::protocol::{Issuer, Malformed};

/// A valid configuration: every value was parsed and is in range.
#[derive(Debug, Clone)]
pub struct Config {
    /// `None`: `http://localhost` with the port of the listener.
    pub(crate) issuer: Option<Issuer>,
    pub(crate) http: http::Policy,
    /// `None`: no metrics are served.
    pub(crate) management_listen: Option<SocketAddr>,
    /// Host names, besides those of loopback, that requests to the management listener may use.
    pub(crate) management_hosts: Vec<String>,
    pub(crate) store: store::Policy,
    pub(crate) keys: keys::Policy,
    pub(crate) registry: registry::Policy,
    pub(crate) tokens: issuer::Policy,
    pub(crate) logins: logins::Policy,
    pub(crate) passwords: passwords::PasswordRules,
    pub(crate) telemetry: telemetry::Policy,
    /// Ignored environment variables: Kubernetes sets them for a Service whose name begins with `sealwright`.
    pub(crate) service_links: Vec<String>,
}

/// Why a configuration is invalid. Every text names the setting and the allowed values.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read or is not TOML.
    #[error("the configuration file {} cannot be used: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No setting has this name.
    #[error("unknown setting {name} ({origin}){}", nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default())]
    Unknown {
        /// The name that was given.
        name: String,
        /// Its source.
        origin: String,
        /// The setting with the most similar name.
        nearest: Option<&'static str>,
    },
    /// A file that a variable names instead of a value cannot be used.
    #[error("the file {} given by {variable} cannot be used: {why}", path.display())]
    ValueFile {
        /// The variable.
        variable: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The setting does not allow the value.
    #[error("the setting {name} is {value} ({origin}): {}expected {allowed}", why.as_deref().map(|why| format!("{why}; ")).unwrap_or_default())]
    Value {
        /// The setting.
        name: &'static str,
        /// The value that was given, unless it is secret.
        value: String,
        /// Its source.
        origin: String,
        /// What is wrong with the value, if that is not obvious.
        why: Option<String>,
        /// The allowed values.
        allowed: &'static str,
    },
}

impl Config {
    /// Puts the credentials of a demo, which are not secret, into the fields of the API's page.
    pub(crate) fn show_in_docs(&mut self, demo: http::Demo) {
        self.http.api_docs.demo = Some(demo);
    }

    /// The part of the configuration that commands need.
    #[doc(hidden)]
    #[must_use]
    pub fn commands(&self) -> commands::Policy {
        commands::Policy {
            store: self.store.clone(),
            keys: self.keys.clone(),
            passwords: self.passwords.clone(),
            hashing: self.registry.hashing,
        }
    }

    /// The address of the listener, and whether it serves TLS itself.
    pub(crate) const fn listener(&self) -> (SocketAddr, bool) {
        (self.http.listen, self.http.tls.is_some())
    }

    /// Its certificate and key, if it serves TLS itself.
    pub(crate) const fn tls_files(&self) -> Option<&edge::TlsFiles> {
        self.http.tls.as_ref()
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
        let values = sources.read()?;
        let listen = values.parse("listen", |text| text.parse::<SocketAddr>().map_err(none))?;
        let issuer: Option<Issuer> = values.parse_if_any("issuer", |text| text.parse().map_err(rule))?;
        let proxies = values.parse_if_any("behind_proxy", |text| edge::TrustedProxies::parse(text).ok_or(None))?;
        let tls = tls_files(&values)?;
        if !listen.ip().is_loopback() {
            let refuse = |why: &str| Err(values.refuse("listen", Some(why.to_owned())));
            if tls.is_none() && proxies.is_none() {
                return refuse("plain HTTP is served only on loopback: set tls_cert and tls_key, or behind_proxy");
            }
            if issuer.as_ref().is_none_or(|issuer| !issuer.as_str().starts_with("https:")) {
                return refuse("beyond loopback, issuer must be set to an https URL");
            }
        }
        Ok(Self {
            http: http::Policy {
                listen,
                tls,
                proxies: proxies.unwrap_or_default(),
                limits: edge::ConnectionLimits {
                    total: values.parse("connections", number(1, 100_000))?,
                    per_source: values.parse("connections_per_source", number(1, 100_000))?,
                    idle: values.parse("connection_idle", duration(Duration::from_secs(1), Duration::from_secs(3600)))?,
                    age: values.parse("connection_age", duration(Duration::from_secs(1), Duration::from_secs(7 * 24 * 3600)))?,
                },
                unauthenticated_memory: values.parse("unauthenticated_memory_mib", number::<usize>(1, 65_536))? * 1024 * 1024,
                drain: edge::Drain {
                    delay: values.parse("drain_delay", duration(Duration::ZERO, Duration::from_secs(300)))?,
                    linger: values.parse("drain_linger", duration(Duration::ZERO, Duration::from_secs(300)))?,
                    limit: values.parse("drain_timeout", duration(Duration::ZERO, Duration::from_secs(300)))?,
                },
                api_docs: http::ApiDocsPolicy { served: values.parse("api_docs", |text| text.parse().map_err(none))?, demo: None },
            },
            management_listen: management_listen(&values)?,
            management_hosts: values.parse_if_any("management_hosts", |text| http::Hosts::parse(text).ok_or(None))?.unwrap_or_default(),
            store: store::Policy { url: database_url(&values)?, connections: values.parse("database_connections", number(1, 100))? },
            keys: keys::Policy {
                dir: values.parse("keys_dir", |text| Some(PathBuf::from(text)).filter(|path| !path.as_os_str().is_empty()).ok_or(None))?,
                sealing_key: values.parse_if_any("sealing_key", |text| Ok(SecretString::from(text)))?,
                found_new_issuer: false,
                publish_lead: values
                    .parse("key_publish_lead", duration(keys::Policy::SHORTEST_LEAD, Duration::from_secs(30 * 24 * 3600)))?,
                rsa_bits: values.parse("rsa_bits", |text| match text {
                    "2048" => Ok(2048),
                    "3072" => Ok(3072),
                    "4096" => Ok(4096),
                    _ => Err(None),
                })?,
                signing_threads: values.parse_if_any("signing_threads", number(1, 256))?.unwrap_or_else(cores),
                signing_queue: values.parse("signing_queue", number(1, 100_000))?,
            },
            registry: registry::Policy {
                stale_for: values.parse("registry_stale_for", duration(Duration::from_secs(1), Duration::from_secs(3600)))?,
                cached_clients: values.parse("cached_clients", number(1, 1_000_000))?,
                limits: limits::Policy {
                    attempts: limits::AttemptsPolicy {
                        burst: values.parse("failed_attempts_burst", number::<NonZeroU32>(1, 1000))?,
                        interval: values.parse("failed_attempts_interval", duration(Duration::from_secs(1), Duration::from_secs(3600)))?,
                    },
                    per_source: values.parse("failed_attempts_per_source", number::<NonZeroU32>(1, 10_000))?,
                    per_client: values.parse("failed_attempts_per_client", number::<NonZeroU32>(1, 100_000))?,
                },
                hashing: passwords::HashingPolicy {
                    memory_kib: values.parse("password_memory_kib", number(19_456, 1_048_576))?,
                    passes: values.parse("password_passes", number(2, 20))?,
                    threads: values.parse_if_any("password_threads", number(1, 64))?.unwrap_or_else(|| (cores() / 2).max(1)),
                    queue: values.parse("password_queue", number(1, 10_000))?,
                },
            },
            tokens: issuer::Policy {
                token_lifetime: values.parse("token_lifetime", |text| parse_duration(text).and_then(TokenLifetime::new).ok_or(None))?,
                password_grant: values.parse("password_grant", |text| text.parse().map_err(none))?,
            },
            logins: logins::Policy {
                lifetime: values.parse("login_lifetime", duration(Duration::from_secs(3600), YEAR))?,
                idle_lifetime: values.parse("login_idle_lifetime", duration(Duration::from_secs(300), YEAR))?,
                per_user: values.parse("logins_per_user", number(1, 10_000))?,
            },
            passwords: passwords::PasswordRules {
                min_length: values.parse("password_min_length", number(8, 64))?,
                service_names: service_names(issuer.as_ref()),
            },
            issuer,
            service_links: values.service_links.clone(),
            telemetry: telemetry::Policy {
                filter: values.parse("log", |text| telemetry::Filter::parse(text).map_err(Some))?,
                format: values.parse("log_format", |text| telemetry::Format::parse(text).ok_or(None))?,
                otlp: values.parse_if_any("otlp_endpoint", |text| telemetry::OtlpEndpoint::parse(text).ok_or(None))?,
            },
        })
    }
}

/// The URL of the database, with the TLS mode of its connections.
fn database_url(values: &Values) -> Result<DatabaseUrl, Error> {
    let refuse = |why: &str| values.refuse("database_url", Some(why.to_owned()));
    let tls = values.parse("database_tls", |text| DatabaseTls::parse(text).ok_or(None))?;
    let url = values.parse("database_url", |text| text.parse::<DatabaseUrl>().map_err(|invalid| Some(invalid.to_string())))?;
    if url.has_password() && values.is_flag("database_url") {
        return Err(refuse(
            "it contains a password, and other users can read a command line: set SEALWRIGHT_DATABASE_URL, SEALWRIGHT_DATABASE_URL_FILE, \
             or database_url in the configuration file, or store the password in the file that PGPASSFILE names",
        ));
    }
    url.secured(tls).map_err(|insecure| refuse(&insecure.to_string()))
}

/// The address for metrics. They are served in plain HTTP without authentication, so an address beyond loopback requires consent.
fn management_listen(values: &Values) -> Result<Option<SocketAddr>, Error> {
    let listen = values.parse("management_listen", |text| match text {
        "off" => Ok(None),
        text => text.parse::<SocketAddr>().map(Some).map_err(none),
    })?;
    let unprotected: bool = values.parse("management_unprotected", |text| text.parse().map_err(none))?;
    if listen.is_some_and(|listen| !listen.ip().is_loopback()) && !unprotected {
        let why =
            "beyond loopback, metrics are served in plain HTTP without authentication: set management_unprotected = true to accept that";
        return Err(values.refuse("management_listen", Some(why.to_owned())));
    }
    Ok(listen)
}

/// Certificate and key: both or none.
fn tls_files(values: &Values) -> Result<Option<edge::TlsFiles>, Error> {
    let path = |text: &str| Some(PathBuf::from(text)).filter(|path| !path.as_os_str().is_empty()).ok_or(None);
    let (certificate, key) = (values.parse_if_any("tls_cert", path)?, values.parse_if_any("tls_key", path)?);
    let alone = |given, missing| Err(values.refuse(given, Some(format!("it requires {missing} too"))));
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(edge::TlsFiles { certificate, key })),
        (None, None) => Ok(None),
        (Some(_), None) => alone("tls_cert", "tls_key"),
        (None, Some(_)) => alone("tls_key", "tls_cert"),
    }
}

const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);

/// Names of the service, which passwords must not consist of: the parts of the issuer's host.
fn service_names(issuer: Option<&Issuer>) -> Vec<String> {
    let host = issuer.map_or("", |issuer| issuer.as_str().split('/').nth(2).unwrap_or_default());
    let parts = host.split(['.', ':']).map(str::to_owned);
    parts.chain(["sealwright".to_owned()]).collect()
}

fn none(_: impl Display) -> Why {
    None
}

fn rule(malformed: Malformed) -> Why {
    Some(malformed.rule.to_owned())
}

fn number<T: FromStr>(least: u64, most: u64) -> impl Fn(&str) -> Result<T, Why> {
    move |text| {
        let within = text.parse().is_ok_and(|number: u64| (least..=most).contains(&number));
        text.parse().ok().filter(|_| within).ok_or(None)
    }
}

fn duration(least: Duration, most: Duration) -> impl Fn(&str) -> Result<Duration, Why> {
    move |text| parse_duration(text).filter(|duration| (least..=most).contains(duration)).ok_or(None)
}

/// Parses a duration such as `90s`, `10m` or `1h 30m`, or a number of seconds.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_secs).or_else(|| humantime::parse_duration(text).ok())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
