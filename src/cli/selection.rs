//! Options by which lists are filtered.

use clap::Args;

/// The filters by state that clients and users have in common.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct State {
    /// Only disabled ones
    #[arg(long, conflicts_with = "enabled")]
    disabled: bool,
    /// Only enabled ones
    #[arg(long)]
    enabled: bool,
}

impl State {
    pub(super) const fn disabled(self) -> Option<bool> {
        match (self.disabled, self.enabled) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            (false, false) => None,
        }
    }
}

/// How many of the newest entries a list has.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Limit {
    /// Maximum number of entries
    #[arg(long, value_name = "NUMBER", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) limit: u32,
}

/// How many entries a list by name has.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct AtMost {
    /// Maximum number of entries; without it, all
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) limit: Option<u32>,
}
