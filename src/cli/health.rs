//! `sealwright health`: asks a process whether it is ready, or only whether it answers, for containers without curl.

use std::net::SocketAddr;

use clap::Args;
use serde::Deserialize;

use super::{SettingFlags, error::Error, node, output::Output};
use crate::{
    attach, guard,
    server::{Config, config::Sources},
};

const MAX_ANSWER_LEN: usize = 64 * 1024;

#[derive(Debug, Args)]
pub(super) struct Health {
    /// The issuer URL of the server to ask, or the URL of a management listener, instead of the server that the configuration describes
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Ask the guard that its configuration describes: the SEALWRIGHT_GUARD_ variables and sealwright-guard.toml
    #[arg(long, conflicts_with = "url")]
    guard: bool,
    /// Ask the `sealwright attach` that its configuration describes: the SEALWRIGHT_ATTACH_ variables and sealwright-attach.toml
    #[arg(long, conflicts_with_all = ["url", "guard"])]
    attach: bool,
    /// Ask only whether the process answers, not whether it is ready: for a probe that restarts it. A restart does not bring an issuer back
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    output: Output,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Ready,
    Live,
}

impl Question {
    const fn path(self) -> &'static str {
        match self {
            Self::Ready => "/health/ready",
            Self::Live => "/health/live",
        }
    }

    /// The `status` of the answer that says yes.
    const fn yes(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Live => "live",
        }
    }
}

/// The body of the server's answer.
#[derive(serde::Serialize, Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    reasons: Vec<String>,
    /// What it lacks although it is ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    missing: Vec<String>,
}

impl Health {
    pub(super) async fn run(self, settings: SettingFlags) -> Result<(), Error> {
        let question = if self.live { Question::Live } else { Question::Ready };
        let (base, known) = match &self.url {
            Some(url) => (url.trim_end_matches('/').to_owned(), false),
            None if self.guard => {
                let sources = Sources::of_process(&guard::config::PROGRAM, settings.flags, settings.file);
                (beside_the_server("the guard", guard::Config::management_listen(sources)?)?, true)
            }
            None if self.attach => {
                let sources = Sources::of_process(&attach::PROGRAM, settings.flags, settings.file);
                (beside_the_server("sealwright attach", attach::Config::management_listen(sources)?)?, true)
            }
            None => (configured(&settings.load()?)?, true),
        };
        let url = base + question.path();
        let answer = ask(question, &url, known).await.map_err(|why| Error::NoHealth { url, why })?;
        if answer.status == question.yes() {
            let yes = |answer: &Answer| [std::slice::from_ref(&answer.status), &answer.missing].concat().join("; ");
            return self.output.print(&answer, yes);
        }
        if self.output.is_json() {
            self.output.print(&answer, |_| String::new())?;
        }
        Err(Error::NotReady(answer.reasons.join("; ")))
    }
}

/// The URL of the configured server on this machine, below which its health is.
fn configured(config: &Config) -> Result<String, Error> {
    let (listen, tls) = config.listener();
    let Some(address) = node::on_this_machine(listen) else {
        let why = "its port is chosen when it starts (listen has port 0): give its URL with --url".to_owned();
        return Err(Error::NoHealth { url: listen.to_string(), why });
    };
    let scheme = if tls { "https" } else { "http" };
    Ok(format!("{scheme}://{address}{}", config.issuer_path()))
}

/// The URL of a process with this management listener, on this machine.
fn beside_the_server(process: &str, listen: Option<SocketAddr>) -> Result<String, Error> {
    let no_health = |why: &str| Error::NoHealth { url: process.to_owned(), why: why.to_owned() };
    let listen = listen.ok_or_else(|| no_health("it has no management listener (management_listen is off)"))?;
    let chosen = "its port is chosen when it starts (management_listen has port 0): give its URL with --url";
    let address = node::on_this_machine(listen).ok_or_else(|| no_health(chosen))?;
    Ok(format!("http://{address}"))
}

/// Sends the request. A `known` server is on this machine.
async fn ask(question: Question, url: &str, known: bool) -> Result<Answer, String> {
    let (status, body) = node::get(url, known, MAX_ANSWER_LEN).await?;
    let answer: Answer = serde_json::from_slice(&body).map_err(|_| node::foreign(status))?;
    // Status and body must agree: a proxy in between may answer with a page of its own.
    match (status.as_u16(), answer.status.as_str()) {
        (200, status) if status == question.yes() => Ok(answer),
        (503, status) if question == Question::Ready && status != question.yes() => Ok(answer),
        _ => Err(node::foreign(status)),
    }
}
