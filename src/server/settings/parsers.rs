//! What values of settings may be.

use std::{fmt::Display, path::PathBuf, str::FromStr, time::Duration};

use super::values::Why;
use crate::protocol::Malformed;

/// The error of a parser whose own reason says no more than what is allowed.
pub(crate) fn without_reason(_: impl Display) -> Why {
    None
}

/// The error of an identifier: the rule that it breaks.
pub(crate) fn by_rule(malformed: Malformed) -> Why {
    Some(malformed.rule.to_owned())
}

pub(crate) fn number<T: FromStr>(least: u64, most: u64) -> impl Fn(&str) -> Result<T, Why> {
    move |text| {
        let within = text.parse().is_ok_and(|number: u64| (least..=most).contains(&number));
        text.parse().ok().filter(|_| within).ok_or(None)
    }
}

pub(crate) fn duration(least: Duration, most: Duration) -> impl Fn(&str) -> Result<Duration, Why> {
    move |text| parse_duration(text).filter(|duration| (least..=most).contains(duration)).ok_or(None)
}

/// Parses a duration such as `90s`, `10m` or `1h 30m`, or a number of seconds.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_secs).or_else(|| humantime::parse_duration(text).ok())
}

pub(crate) fn boolean(text: &str) -> Result<bool, Why> {
    text.parse().map_err(without_reason)
}

pub(crate) fn path(text: &str) -> Result<PathBuf, Why> {
    Some(PathBuf::from(text)).filter(|path| !path.as_os_str().is_empty()).ok_or(None)
}

/// The default of numbers of threads.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
