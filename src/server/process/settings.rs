//! The settings of a process that listens.

use std::{net::SocketAddr, time::Duration};

use super::hosts::Hosts;
use crate::server::{
    edge::{ConnectionLimits, Drain, TlsFiles, Traffic, TrustedProxies},
    settings::{Error, Setting, Values, boolean, duration, number, path, setting, without_reason},
};

/// The settings of the listener that a process serves its callers on.
#[derive(Debug, Clone)]
pub(crate) struct ListenerPolicy {
    pub(crate) listen: SocketAddr,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) proxies: TrustedProxies,
    pub(crate) limits: ConnectionLimits,
    /// Memory for requests that are not authenticated yet, in bytes.
    pub(crate) unauthenticated_memory: usize,
    pub(crate) drain: Drain,
}

impl ListenerPolicy {
    /// All but `listen`, whose default differs.
    pub(crate) const CONNECTIONS: &'static [Setting] = &[
        setting("tls_cert", None, "the certificate chain for TLS, in PEM; reloaded when the file changes", "a path"),
        setting("tls_key", None, "the private key of tls_cert, in PEM", "a path"),
        setting(
            "behind_proxy",
            None,
            "the proxies that terminate TLS in front of this server and whose X-Forwarded-For is trusted; plain HTTP is then allowed on any address",
            "comma-separated addresses or networks, such as 10.0.0.5,10.0.0.6",
        ),
        setting(
            "connections",
            Some("4096"),
            "maximum number of open connections; another one closes the connection that has been idle longest, or waits if none is idle",
            "a number from 1 to 100000",
        ),
        setting(
            "connections_per_source",
            Some("256"),
            "maximum number of open connections per address (per /64 in IPv6), except trusted proxies; another one closes an idle one of the same address",
            "a number from 1 to 100000",
        ),
        setting(
            "connection_idle",
            Some("75s"),
            "how long a connection may be idle; set it longer than the idle timeout of a proxy in front",
            "a duration from 1s to 1h",
        ),
        setting(
            "connection_age",
            Some("1h"),
            "maximum age of a connection; it is closed after the next response",
            "a duration from 1s to 7days",
        ),
        setting(
            "unauthenticated_memory_mib",
            Some("64"),
            "memory for headers and bodies of requests that are not authenticated yet, a quarter of it per source; further requests are answered with 503",
            "a number from 1 to 65536",
        ),
    ];
    pub(crate) const DRAIN: &'static [Setting] = &[
        setting(
            "drain_delay",
            Some("0s"),
            "how long a stopping server keeps serving while it reports that it is not ready, so that load balancers notice",
            "a duration from 0s to 5m",
        ),
        setting(
            "drain_linger",
            Some("1s"),
            "how long a stopping server keeps idle connections open, so that requests in transit are not cut off",
            "a duration from 0s to 5m",
        ),
        setting("drain_timeout", Some("20s"), "how long a stopping server waits for requests in progress", "a duration from 0s to 5m"),
    ];

    /// Beyond loopback, tokens and secrets must travel in TLS.
    pub(crate) fn read(values: &Values) -> Result<Self, Error> {
        let listen = values.parse("listen", |text| text.parse::<SocketAddr>().map_err(without_reason))?;
        let proxies = values.parse_if_any("behind_proxy", |text| TrustedProxies::parse(text).ok_or(None))?;
        let tls = tls_files(values)?;
        if !listen.ip().is_loopback() && tls.is_none() && proxies.is_none() {
            let why = "plain HTTP is served only on loopback: set tls_cert and tls_key, or behind_proxy";
            return Err(values.refuse("listen", Some(why.to_owned())));
        }
        Ok(Self {
            listen,
            tls,
            proxies: proxies.unwrap_or_default(),
            limits: ConnectionLimits {
                total: values.parse("connections", number(1, 100_000))?,
                per_source: values.parse("connections_per_source", number(1, 100_000))?,
                idle: values.parse("connection_idle", duration(Duration::from_secs(1), Duration::from_secs(3600)))?,
                age: values.parse("connection_age", duration(Duration::from_secs(1), Duration::from_secs(7 * 24 * 3600)))?,
                traffic: Traffic::Messages,
            },
            unauthenticated_memory: values.parse("unauthenticated_memory_mib", number::<usize>(1, 65_536))? * 1024 * 1024,
            drain: Self::read_drain(values)?,
        })
    }

    /// How the process stops.
    pub(crate) fn read_drain(values: &Values) -> Result<Drain, Error> {
        let time = |name| values.parse(name, duration(Duration::ZERO, Duration::from_secs(300)));
        Ok(Drain { delay: time("drain_delay")?, linger: time("drain_linger")?, limit: time("drain_timeout")? })
    }
}

/// Certificate and key: both or none.
fn tls_files(values: &Values) -> Result<Option<TlsFiles>, Error> {
    let (certificate, key) = (values.parse_if_any("tls_cert", path)?, values.parse_if_any("tls_key", path)?);
    let alone = |given, missing| Err(values.refuse(given, Some(format!("it requires {missing} too"))));
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key })),
        (None, None) => Ok(None),
        (Some(_), None) => alone("tls_cert", "tls_key"),
        (None, Some(_)) => alone("tls_key", "tls_cert"),
    }
}

/// The settings of the management listener.
#[derive(Debug, Clone)]
pub(crate) struct ManagementPolicy {
    /// `None`: no metrics are served.
    pub(crate) listen: Option<SocketAddr>,
    /// Host names, besides those of loopback, that requests may use.
    pub(crate) hosts: Vec<String>,
}

impl ManagementPolicy {
    /// Its settings, with the default of its address.
    pub(crate) const fn settings(listen: &'static str) -> [Setting; 3] {
        [
            setting(
                "management_listen",
                Some(listen),
                "the address for metrics and health checks; an address beyond loopback requires management_unprotected",
                "an IP address and a port, or off",
            ),
            setting(
                "management_unprotected",
                Some("false"),
                "whether management_listen may be an address beyond loopback, where it is served in plain HTTP without authentication",
                "true or false",
            ),
            setting(
                "management_hosts",
                None,
                "host names of the management listener besides localhost; requests with another Host are refused",
                "comma-separated DNS names without ports, such as sealwright.internal",
            ),
        ]
    }

    /// Metrics are served in plain HTTP without authentication, so an address beyond loopback requires consent.
    pub(crate) fn read(values: &Values) -> Result<Self, Error> {
        let listen = values.parse("management_listen", |text| match text {
            "off" => Ok(None),
            text => text.parse::<SocketAddr>().map(Some).map_err(without_reason),
        })?;
        let unprotected: bool = values.parse("management_unprotected", boolean)?;
        if listen.is_some_and(|listen| !listen.ip().is_loopback()) && !unprotected {
            let why = "beyond loopback, metrics are served in plain HTTP without authentication: set management_unprotected = true to accept that";
            return Err(values.refuse("management_listen", Some(why.to_owned())));
        }
        let hosts = values.parse_if_any("management_hosts", |text| Hosts::parse(text).ok_or(None))?.unwrap_or_default();
        Ok(Self { listen, hosts })
    }
}
