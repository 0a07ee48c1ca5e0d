use std::{net::SocketAddr, time::Duration};

use super::api_docs::Policy as ApiDocsPolicy;
use crate::{
    protocol::Issuer,
    server::{
        edge::{ConnectionLimits, Drain, TlsFiles, Traffic, TrustedProxies},
        settings::{Error, Setting, Values, boolean, duration, number, path, setting, without_reason},
    },
};

/// The settings of the public listener.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) listen: SocketAddr,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) proxies: TrustedProxies,
    pub(crate) limits: ConnectionLimits,
    /// Memory for requests that are not authenticated yet, in bytes.
    pub(crate) unauthenticated_memory: usize,
    pub(crate) drain: Drain,
    pub(crate) api_docs: ApiDocsPolicy,
}

impl Policy {
    pub(crate) const LISTENER: &'static [Setting] = &[
        setting(
            "listen",
            Some("127.0.0.1:8080"),
            "the address to listen on",
            "an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080 (port 0 takes a free one); an address beyond loopback requires an https issuer, and tls_cert and tls_key, or behind_proxy",
        ),
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
            "maximum number of open connections; another one closes the connection that has been idle longest",
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
    pub(crate) const API_DOCS: &'static [Setting] = &[setting(
        "api_docs",
        Some("true"),
        "whether the API's description (/openapi.yaml, /openapi.json) and its page (/docs) are served",
        "true or false",
    )];
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

    /// Beyond loopback, `issuer` must use https.
    pub(crate) fn read(values: &Values, issuer: Option<&Issuer>) -> Result<Self, Error> {
        let (listen, tls, proxies) = listener(values, issuer)?;
        let drain = |name| values.parse(name, duration(Duration::ZERO, Duration::from_secs(300)));
        Ok(Self {
            listen,
            tls,
            proxies,
            limits: ConnectionLimits {
                total: values.parse("connections", number(1, 100_000))?,
                per_source: values.parse("connections_per_source", number(1, 100_000))?,
                idle: values.parse("connection_idle", duration(Duration::from_secs(1), Duration::from_secs(3600)))?,
                age: values.parse("connection_age", duration(Duration::from_secs(1), Duration::from_secs(7 * 24 * 3600)))?,
                traffic: Traffic::Messages,
            },
            unauthenticated_memory: values.parse("unauthenticated_memory_mib", number::<usize>(1, 65_536))? * 1024 * 1024,
            drain: Drain { delay: drain("drain_delay")?, linger: drain("drain_linger")?, limit: drain("drain_timeout")? },
            api_docs: ApiDocsPolicy { served: values.parse("api_docs", boolean)?, demo: None },
        })
    }
}

/// The address, its certificate, and the proxies in front. Beyond loopback, tokens and secrets must travel in TLS.
fn listener(values: &Values, issuer: Option<&Issuer>) -> Result<(SocketAddr, Option<TlsFiles>, TrustedProxies), Error> {
    let listen = values.parse("listen", |text| text.parse::<SocketAddr>().map_err(without_reason))?;
    let proxies = values.parse_if_any("behind_proxy", |text| TrustedProxies::parse(text).ok_or(None))?;
    let tls = tls_files(values)?;
    if !listen.ip().is_loopback() {
        let refuse = |why: &str| Err(values.refuse("listen", Some(why.to_owned())));
        if tls.is_none() && proxies.is_none() {
            return refuse("plain HTTP is served only on loopback: set tls_cert and tls_key, or behind_proxy");
        }
        if issuer.is_none_or(|issuer| !issuer.as_str().starts_with("https:")) {
            return refuse("beyond loopback, issuer must be set to an https URL");
        }
    }
    Ok((listen, tls, proxies.unwrap_or_default()))
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
