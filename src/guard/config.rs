//! The configuration of a guard: its settings in one table.

use std::{net::SocketAddr, path::PathBuf};

pub use crate::server::settings::{Error, Setting, Sources};

use super::{gateway::Gateway, token_headers::TokenHeaders, upstream::UpstreamPolicy};
use crate::{
    protocol::VerifierName,
    server::{
        process::{ListenerPolicy, ManagementPolicy},
        settings::{Program, Values, by_rule, count, joined, path, setting},
        telemetry,
    },
};

/// A valid configuration of a guard. Its rules are a file of their own, which is read when the guard is built.
#[derive(Debug, Clone)]
pub struct Config {
    pub(super) rules: PathBuf,
    pub(super) mode: ModePolicy,
    pub(super) headers: TokenHeaders,
    pub(super) resource_metadata: Option<String>,
    /// Under which the issuers list it.
    pub(super) name: Option<String>,
    pub(super) listener: ListenerPolicy,
    pub(super) management: ManagementPolicy,
    pub(crate) telemetry: telemetry::Policy,
    /// Ignored environment variables: Kubernetes sets them for a Service whose name begins with `sealwright-guard`.
    pub(crate) service_links: Vec<String>,
}

/// What the guard does with a decision.
#[derive(Debug, Clone)]
pub(super) enum ModePolicy {
    Gateway(Gateway),
    Upstream(UpstreamPolicy),
}

/// All settings of a guard, in the order in which they are listed.
pub const SETTINGS: &[Setting] = &joined::<{ count(TABLES) }>(TABLES);

/// The settings of a guard, and where they are set.
pub(crate) const PROGRAM: Program = Program { settings: SETTINGS, prefix: Program::GUARD, file: "sealwright-guard.toml" };

const TABLES: &[&[Setting]] = &[
    Config::SETTINGS,
    Gateway::SETTINGS,
    UpstreamPolicy::SETTINGS,
    TokenHeaders::SETTINGS,
    Config::LISTEN,
    ListenerPolicy::CONNECTIONS,
    &ManagementPolicy::settings("127.0.0.1:9001"),
    ListenerPolicy::DRAIN,
    telemetry::Policy::SETTINGS,
];

impl Config {
    const SETTINGS: &'static [Setting] = &[
        setting("rules", None, "the rule file: whose tokens are accepted, and what each request needs; required", "a path"),
        setting(
            "name",
            None,
            "the name under which the issuer lists this guard among those that fetch its keys; by default none",
            "1 to 64 of a-z, 0-9 and -._:/@, such as orders-guard",
        ),
        setting(
            "resource_metadata",
            None,
            "the URL of the API's metadata (RFC 9728), which every challenge then names; by default none",
            "an http or https URL",
        ),
    ];
    const LISTEN: &'static [Setting] = &[setting(
        "listen",
        Some("127.0.0.1:9000"),
        "the address to listen on",
        "an IP address and a port, such as 127.0.0.1:9000 or [::1]:9000 (port 0 takes a free one); an address beyond loopback requires tls_cert and tls_key, or behind_proxy",
    )];

    /// Loads the configuration. Refuses unknown settings and values out of range.
    ///
    /// ```
    /// use sealwright::guard::{Config, config::Sources};
    ///
    /// let flags = [("rules", "rules.toml"), ("upstream", "http://127.0.0.1:3000"), ("gateway", "nginx")];
    /// let flags = flags.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    /// let error = Config::load(Sources { flags, ..Sources::default() }).unwrap_err();
    /// assert!(error.to_string().contains("set either gateway or upstream, not both"));
    /// ```
    ///
    /// # Errors
    ///
    /// If a source cannot be read, a name is unknown, or a value is not allowed.
    pub fn load(sources: Sources) -> Result<Self, Error> {
        let values = sources.read(PROGRAM)?;
        let name: Option<VerifierName> = values.parse_if_any("name", |text| text.parse().map_err(by_rule))?;
        let mode = ModePolicy::read(&values)?;
        let mut listener = ListenerPolicy::read(&values)?;
        if let ModePolicy::Upstream(upstream) = &mode {
            listener.limits.traffic = upstream.traffic();
        }
        Ok(Self {
            rules: values.parse("rules", path)?,
            mode,
            headers: TokenHeaders::read(&values)?,
            resource_metadata: values.parse_if_any("resource_metadata", |text| metadata_url(text).ok_or(None))?,
            name: name.map(|name| name.to_string()),
            listener,
            management: ManagementPolicy::read(&values)?,
            telemetry: telemetry::Policy::read(&values)?,
            service_links: values.service_links,
        })
    }

    /// The address of metrics and health checks by these sources; `None` if they are off. The other settings may be elsewhere, for example in
    /// the flags of the guard that runs.
    pub(crate) fn management_listen(sources: Sources) -> Result<Option<SocketAddr>, Error> {
        Ok(ManagementPolicy::read(&sources.read(PROGRAM)?)?.listen)
    }
}

impl ModePolicy {
    fn read(values: &Values) -> Result<Self, Error> {
        match (Gateway::read(values)?, UpstreamPolicy::read(values)?) {
            (Some(gateway), None) => Ok(Self::Gateway(gateway)),
            (None, Some(upstream)) => Ok(Self::Upstream(upstream)),
            (Some(_), Some(_)) => Err(values.refuse("gateway", Some("set either gateway or upstream, not both".to_owned()))),
            (None, None) => {
                let why = "set gateway if a gateway asks this guard about requests, or upstream if it forwards them";
                Err(values.refuse("gateway", Some(why.to_owned())))
            }
        }
    }
}

/// A URL that needs no quoting in a challenge (RFC 9728 section 5.1).
fn metadata_url(text: &str) -> Option<String> {
    let url = url::Url::parse(text).ok()?;
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte));
    (is_plain && matches!(url.scheme(), "http" | "https") && url.has_host()).then(|| text.to_owned())
}
