//! The actor, the request and the time of a change: an argument of every change.

use std::{env, sync::Arc};

use crate::clock::Timestamp;

/// The circumstances of a change.
#[derive(Debug, Clone)]
pub struct Act {
    pub(crate) actor: Arc<str>,
    /// The id of the HTTP request, if there is one.
    pub(crate) request: Option<Arc<str>>,
    pub(crate) now: Timestamp,
}

impl Act {
    /// A change by `actor`. Control characters of the name are removed.
    #[must_use]
    pub fn new(actor: &str, request: Option<&str>, now: Timestamp) -> Self {
        const MAX_CHARS: usize = 200;
        let actor: String = actor.chars().filter(|c| !c.is_control()).take(MAX_CHARS).collect();
        Self { actor: actor.into(), request: request.map(Arc::from), now }
    }

    /// A change by the operator who runs this process: a name and a machine.
    #[must_use]
    pub fn of_process(now: Timestamp) -> Self {
        let name = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| env::var(name).ok().filter(|name| !name.is_empty()));
        Self::new(&format!("{}@{}", name.unwrap_or_else(user), machine()), None, now)
    }

    /// A change that the server on this machine makes by itself.
    #[must_use]
    pub fn of_server(now: Timestamp) -> Self {
        Self::new(&format!("sealwright@{}", machine()), None, now)
    }
}

#[cfg(unix)]
fn user() -> String {
    format!("uid {}", rustix::process::getuid().as_raw())
}

#[cfg(unix)]
fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn user() -> String {
    "unknown".to_owned()
}

#[cfg(not(unix))]
fn machine() -> String {
    env::var("COMPUTERNAME").unwrap_or_default()
}
