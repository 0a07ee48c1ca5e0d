//! Asks a running server over HTTP.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use reqwest::StatusCode;

use crate::outbound;

/// Time limit of the request: less than the 30 s that container engines allow for a health check.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// The address of a listener as seen from this machine; `None` if its port is chosen when the server starts.
pub(super) fn on_this_machine(listen: SocketAddr) -> Option<SocketAddr> {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    (listen.port() != 0).then_some(SocketAddr::new(ip, listen.port()))
}

/// The status and the body of the answer, of at most `limit` bytes. A `known` server is on this machine and addressed by IP, so its certificate
/// is not checked. Nothing secret is sent.
pub(super) async fn get(url: &str, known: bool, limit: usize) -> Result<(StatusCode, Vec<u8>), String> {
    let make = move || {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(TIME_LIMIT);
        if known { client.no_proxy().tls_danger_accept_invalid_certs(true) } else { client }.build()
    };
    let client = tokio::task::spawn_blocking(make).await.map_err(|error| error.to_string())?;
    let client = client.map_err(|error| outbound::error_chain(&error))?;
    let mut response = client.get(url).send().await.map_err(|error| outbound::error_chain(&error.without_url()))?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| outbound::error_chain(&error.without_url()))? {
        body.extend_from_slice(&chunk);
        if body.len() > limit {
            return Err("its response is too long".to_owned());
        }
    }
    Ok((status, body))
}

/// The reason for a status or a body that a server of ours does not send.
pub(super) fn foreign(status: StatusCode) -> String {
    format!("its response ({status}) is not that of a sealwright server")
}
