//! Reads typed values from rows.

use std::{str::FromStr, time::Duration};

use sqlx::{Row, any::AnyRow};

use super::Error;
use crate::{
    clock::Timestamp,
    protocol::Malformed,
    server::model::{CustomClaims, Damaged, TokenLifetime},
};

/// What was read, or why it is damaged. Other errors stay errors.
pub(super) fn readable<T>(read: Result<T, Error>) -> Result<Result<T, Damaged>, Error> {
    match read {
        Ok(read) => Ok(Ok(read)),
        Err(error @ Error::Corrupt { .. }) => Ok(Err(Damaged(error.to_string()))),
        // A value of another type, which SQLite can store in any column.
        Err(Error::Database(error)) if matches!(*error, sqlx::Error::ColumnDecode { .. }) => Ok(Err(Damaged(error.to_string()))),
        Err(error) => Err(error),
    }
}

/// In a list, the name of an entity whose name is not a text. No entity can have it.
pub(super) const UNREADABLE: &str = "(not readable)";

/// The name of an entity in a list.
pub(super) fn name(row: &AnyRow, column: &str) -> Result<String, Error> {
    Ok(readable(text(row, column))?.unwrap_or_else(|_| UNREADABLE.to_owned()))
}

pub(super) fn text(row: &AnyRow, column: &str) -> Result<String, Error> {
    Ok(row.try_get(column)?)
}

/// A text that must parse. An invalid value is an error, not an empty value.
pub(super) fn parsed<T: FromStr<Err = Malformed>>(row: &AnyRow, column: &'static str) -> Result<T, Error> {
    text(row, column)?.parse().map_err(Error::corrupt(column))
}

/// The same for a column that may be NULL.
pub(super) fn parsed_if_any<T: FromStr<Err = Malformed>>(row: &AnyRow, column: &'static str) -> Result<Option<T>, Error> {
    row.try_get::<Option<String>, _>(column)?.map(|text| text.parse().map_err(Error::corrupt(column))).transpose()
}

/// Words stored with spaces between them.
pub(super) fn words<T: FromStr<Err = Malformed>, C: FromIterator<T>>(row: &AnyRow, column: &'static str) -> Result<C, Error> {
    text(row, column)?.split_ascii_whitespace().map(|word| word.parse().map_err(Error::corrupt(column))).collect()
}

/// The same for a column that may be NULL, which stands for no words.
pub(super) fn words_if_any<T: FromStr<Err = Malformed>, C: FromIterator<T>>(row: &AnyRow, column: &'static str) -> Result<C, Error> {
    let text: Option<String> = row.try_get(column)?;
    text.iter().flat_map(|text| text.split_ascii_whitespace()).map(|word| word.parse().map_err(Error::corrupt(column))).collect()
}

/// Custom claims for binding.
pub(super) fn claims_or_null(claims: &CustomClaims) -> Option<String> {
    (!claims.is_empty()).then(|| claims.to_string())
}

/// The inverse of [`words`].
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

/// A lifetime for binding; the maximum fits into an `i64`.
pub(super) fn lifetime_seconds(lifetime: Option<TokenLifetime>) -> Option<i64> {
    lifetime.map(|lifetime| lifetime.seconds().cast_signed())
}
