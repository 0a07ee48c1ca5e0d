//! Logs: text on a terminal, JSON otherwise.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// What logging obeys.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) filter: Filter,
    pub(crate) format: Format,
}

/// Which events are logged; parsed.
#[derive(Debug, Clone)]
pub(crate) struct Filter(String);

impl Filter {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        EnvFilter::try_new(text).map(|_| Self(text.to_owned())).map_err(|error| error.to_string())
    }
}

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Auto,
    Text,
    Json,
}

impl Format {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// Sends the events of this process to standard error. The first call counts.
pub(crate) fn init(policy: &Policy) {
    let json = match policy.format {
        Format::Auto => !io::stderr().is_terminal(),
        Format::Text => false,
        Format::Json => true,
    };
    let registry = tracing_subscriber::registry().with(EnvFilter::new(&policy.filter.0));
    let events = fmt::layer().with_writer(io::stderr).with_target(false);
    // Somebody who embeds us may have set up logging already; theirs stands.
    let _ = if json {
        registry.with(events.json().flatten_event(true).with_current_span(false).with_span_list(false)).try_init()
    } else {
        registry.with(events.with_ansi(io::stderr().is_terminal())).try_init()
    };
}
