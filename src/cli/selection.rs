//! Options by which lists are filtered.

use std::time::Duration;

use clap::Args;

use super::output::positive_duration;
use crate::{clock::Timestamp, protocol::Audience};

/// The filters that clients and users have in common.
#[derive(Debug, Args)]
pub(super) struct Selection {
    /// Only those with scopes at this resource, and clients that introspect its tokens
    #[arg(long, value_name = "RESOURCE")]
    pub(super) resource: Option<Audience>,
    /// Only disabled ones
    #[arg(long, conflicts_with = "enabled")]
    disabled: bool,
    /// Only enabled ones
    #[arg(long)]
    enabled: bool,
    /// Only those that were not used for this long, such as 30days; leaves out newer ones
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    unused_for: Option<Duration>,
}

impl Selection {
    pub(super) const fn disabled(&self) -> Option<bool> {
        match (self.disabled, self.enabled) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            (false, false) => None,
        }
    }

    pub(super) fn unused_since(&self, now: Timestamp) -> Option<Timestamp> {
        self.unused_for.map(|duration| now - duration)
    }
}

/// How many of the newest entries a list has.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Limit {
    /// Maximum number of entries
    #[arg(long, value_name = "NUMBER", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) limit: u32,
}
