//! Helpers of the tests.

mod app;
mod assertion;
mod database;
mod described;
mod fixtures;
mod hostile_assertions;
mod keys;
mod list;
pub(crate) mod private_keys;
mod process;
mod relay;
mod terminal;

pub(crate) use app::{Answer, Credential, ORDERS, PASSWORD, SIGN_IN, TestApp, claims_of, header_of, wait_until};
pub(crate) use assertion::{AppKey, assertion_claims, by_assertion};
pub(crate) use database::{Backend, TestDatabase};
pub(crate) use described::{DESCRIPTION, as_listed, resolved};
pub(crate) use fixtures::{at_orders, lifetime};
pub(crate) use hostile_assertions::{hostile_assertions, merged, without};
pub(crate) use keys::{kids, signing};
pub(crate) use list::{List, position};
pub(crate) use process::Finished;
pub(crate) use process::{Process, command, command_on, finish, furnish, sealwright, sealwright_with_input, write_private};
pub(crate) use relay::{Behaviour, Relay};
pub(crate) use terminal::{on_terminal, serve_on_terminal};

/// Runs each of these tests on one database, in a separate module.
macro_rules! on_database {
    ($module:ident, $backend:ident, $($test:ident),+) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(crate::support::Backend::$backend).await;
            })+
        }
    };
}
pub(crate) use on_database;

/// Runs each of these tests on SQLite and on PostgreSQL.
macro_rules! on_both_databases {
    ($($test:ident),+ $(,)?) => {
        crate::support::on_database!(sqlite, Sqlite, $($test),+);
        crate::support::on_database!(postgres, Postgres, $($test),+);
    };
}
pub(crate) use on_both_databases;

/// Runs each of these tests on SQLite only, because its subject does not depend on the database.
macro_rules! on_sqlite {
    ($($test:ident),+ $(,)?) => {
        crate::support::on_database!(one_database, Sqlite, $($test),+);
    };
}
pub(crate) use on_sqlite;
