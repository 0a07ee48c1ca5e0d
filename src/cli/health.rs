//! `sealwright health`: asks a server whether it is ready, for containers without curl.

use clap::Args;
use serde::Deserialize;

use super::{SettingFlags, error::Error, node, output::Output};
use crate::server::Config;

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
    let Some(address) = node::on_this_machine(listen) else {
        let why = "its port is chosen when it starts (listen has port 0): give its URL with --url".to_owned();
        return Err(Error::NoHealth { url: listen.to_string(), why });
    };
    let scheme = if tls { "https" } else { "http" };
    Ok(format!("{scheme}://{address}{}{READY}", config.issuer_path()))
}

/// Sends the request. A `known` server is on this machine.
async fn ask(url: &str, known: bool) -> Result<Answer, String> {
    let (status, body) = node::get(url, known, MAX_ANSWER_LEN).await?;
    let answer: Answer = serde_json::from_slice(&body).map_err(|_| node::foreign(status))?;
    // Status and body must agree: a proxy in between may answer with a page of its own.
    match (status.as_u16(), answer.status.as_str()) {
        (200, "ready") | (503, _) => Ok(answer),
        _ => Err(node::foreign(status)),
    }
}
