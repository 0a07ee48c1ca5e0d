//! `sealwright health`: asks a server whether it is ready, for containers without curl.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use clap::Args;
use serde::Deserialize;

use super::{SettingFlags, error::Error, output::Output};
use crate::{outbound, server::Config};

/// Time limit of the request: less than the 30 s that container engines allow for a health check.
const TIME_LIMIT: Duration = Duration::from_secs(5);
const READY: &str = "/health/ready";
const MAX_ANSWER_LEN: usize = 64 * 1024;

#[derive(Debug, Args)]
pub(super) struct Health {
    /// The issuer URL of the server to ask, instead of the server that the configuration describes
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// The body of the server's answer.
#[derive(serde::Serialize, Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    reasons: Vec<String>,
}

impl Health {
    pub(super) async fn run(self, settings: SettingFlags) -> Result<(), Error> {
        let (url, known) = match &self.url {
            Some(url) => (format!("{}{READY}", url.trim_end_matches('/')), false),
            None => (configured(&settings.load()?)?, true),
        };
        let answer = ask(&url, known).await.map_err(|why| Error::NoHealth { url, why })?;
        if answer.status == "ready" {
            return self.output.print(&answer, |_| "ready".to_owned());
        }
        if self.output.is_json() {
            self.output.print(&answer, |_| String::new())?;
        }
        Err(Error::NotReady(answer.reasons.join("; ")))
    }
}

/// The readiness URL of the configured server, on this machine.
fn configured(config: &Config) -> Result<String, Error> {
    let (listen, tls) = config.listener();
    if listen.port() == 0 {
        let why = "its port is chosen when it starts (listen has port 0): give its URL with --url".to_owned();
        return Err(Error::NoHealth { url: listen.to_string(), why });
    }
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let scheme = if tls { "https" } else { "http" };
    Ok(format!("{scheme}://{}{}{READY}", SocketAddr::new(ip, listen.port()), config.issuer_path()))
}

/// Sends the request. A `known` server is on this machine and addressed by IP, so its certificate is not checked. Nothing secret is sent.
async fn ask(url: &str, known: bool) -> Result<Answer, String> {
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
        if body.len() > MAX_ANSWER_LEN {
            return Err("its response is too long".to_owned());
        }
    }
    let answer: Answer =
        serde_json::from_slice(&body).map_err(|_| format!("its response ({status}) is not that of a sealwright server"))?;
    // Status and body must agree: a proxy in between may answer with a page of its own.
    match (status.as_u16(), answer.status.as_str()) {
        (200, "ready") | (503, _) => Ok(answer),
        _ => Err(format!("its response ({status}) is not that of a sealwright server")),
    }
}
