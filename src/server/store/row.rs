//! Reads typed values out of rows.

use std::{str::FromStr, time::Duration};

use sqlx::{Row, any::AnyRow};

use super::Error;
use crate::{clock::Timestamp, protocol::Malformed, server::model::TokenLifetime};

pub(super) fn text(row: &AnyRow, column: &str) -> Result<String, Error> {
    Ok(row.try_get(column)?)
}

/// A text that must parse: a row that does not is not taken for an empty one.
pub(super) fn parsed<T: FromStr<Err = Malformed>>(row: &AnyRow, column: &'static str) -> Result<T, Error> {
    text(row, column)?.parse().map_err(Error::corrupt(column))
}

/// Words that were stored with a space between them.
pub(super) fn words<T: FromStr<Err = Malformed>, C: FromIterator<T>>(row: &AnyRow, column: &'static str) -> Result<C, Error> {
    text(row, column)?.split_ascii_whitespace().map(|word| word.parse().map_err(Error::corrupt(column))).collect()
}

/// What [`words`] reads back.
pub(super) fn joined<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(" ")
}

pub(super) fn time(row: &AnyRow, column: &str) -> Result<Timestamp, Error> {
    Ok(Timestamp::from_seconds(row.try_get(column)?))
}

pub(super) fn time_if_any(row: &AnyRow, column: &str) -> Result<Option<Timestamp>, Error> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_seconds))
}

pub(super) fn lifetime_if_any(row: &AnyRow, column: &'static str) -> Result<Option<TokenLifetime>, Error> {
    let Some(seconds) = row.try_get::<Option<i64>, _>(column)? else { return Ok(None) };
    let lifetime = u64::try_from(seconds).ok().and_then(|seconds| TokenLifetime::new(Duration::from_secs(seconds)));
    lifetime.map(Some).ok_or_else(|| Error::Corrupt { what: column, why: format!("{seconds} s is out of range") })
}

/// For binding a lifetime; its maximum fits.
pub(super) fn lifetime_seconds(lifetime: Option<TokenLifetime>) -> Option<i64> {
    lifetime.map(|lifetime| lifetime.seconds().cast_signed())
}
