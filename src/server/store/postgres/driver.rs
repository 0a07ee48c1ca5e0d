//! The PostgreSQL driver for sqlx's `Any`: sqlx's own connection, opened by [`Targets::connect`] and used as a [`Session`].
//!
//! sqlx's own driver takes only a URL, which can neither omit a startup parameter nor name several hosts.

use std::borrow::Cow;

use log::LevelFilter;
use sqlx::{
    Arguments, Column, ColumnIndex, ConnectOptions, Connection, Database, Either, Error, FromRow, IntoArguments, Row, SqlStr, Statement,
    Value, ValueRef,
    any::AnyConnectOptions,
    postgres::{PgQueryResult, PgTypeInfo},
    query::{Query, QueryAs, QueryScalar},
};
use sqlx_core::{any::AnyConnectionBackend, transaction::TransactionManager};
use url::Url;

use super::{connect::Targets, session::Session};

impl ConnectOptions for Targets {
    type Connection = Session;

    fn from_url(url: &Url) -> sqlx::Result<Self> {
        Self::from_url(url)
    }

    async fn connect(&self) -> sqlx::Result<Session> {
        self.connect().await.map(Session::new)
    }

    fn log_statements(self, level: LevelFilter) -> Self {
        self.map(|target| target.log_statements(level))
    }

    fn log_slow_statements(self, level: LevelFilter, duration: std::time::Duration) -> Self {
        self.map(|target| target.log_slow_statements(level, duration))
    }
}

impl TryFrom<&AnyConnectOptions> for Targets {
    type Error = Error;

    fn try_from(options: &AnyConnectOptions) -> sqlx::Result<Self> {
        let log = &options.log_settings;
        let targets = Self::from_url(&options.database_url)?;
        Ok(targets.log_statements(log.statements_level).log_slow_statements(log.slow_statements_level, log.slow_statements_duration))
    }
}

/// The driver's type for sqlx. Its rows, values and statements are those of `Any`; the uninhabited types below only satisfy sqlx's traits.
#[derive(Debug)]
pub(crate) struct Postgres;

#[derive(Debug, Clone)]
pub(crate) enum Never {}

#[derive(Debug, Default)]
pub(crate) struct NoArguments;

impl Database for Postgres {
    type Connection = Session;
    type TransactionManager = Self;
    type Row = Never;
    type QueryResult = PgQueryResult;
    type Column = Never;
    type TypeInfo = PgTypeInfo;
    type Value = Never;
    type ValueRef<'r> = Never;
    type Arguments = NoArguments;
    type ArgumentBuffer = ();
    type Statement = Never;

    const NAME: &'static str = "PostgreSQL";
    const URL_SCHEMES: &'static [&'static str] = &["postgres"];
}

impl Connection for Session {
    type Database = Postgres;
    type Options = Targets;

    async fn close(self) -> sqlx::Result<()> {
        Connection::close(self.connection).await
    }

    async fn close_hard(self) -> sqlx::Result<()> {
        Connection::close_hard(self.connection).await
    }

    async fn ping(&mut self) -> sqlx::Result<()> {
        AnyConnectionBackend::ping(self).await
    }

    fn begin(&mut self) -> impl Future<Output = sqlx::Result<sqlx::Transaction<'_, Postgres>>> + Send + '_ {
        sqlx::Transaction::begin(self, None)
    }

    fn shrink_buffers(&mut self) {
        AnyConnectionBackend::shrink_buffers(self);
    }

    async fn flush(&mut self) -> sqlx::Result<()> {
        AnyConnectionBackend::flush(self).await
    }

    fn should_flush(&self) -> bool {
        AnyConnectionBackend::should_flush(self)
    }
}

impl TransactionManager for Postgres {
    type Database = Self;

    async fn begin(session: &mut Session, statement: Option<SqlStr>) -> sqlx::Result<()> {
        AnyConnectionBackend::begin(session, statement).await
    }

    async fn commit(session: &mut Session) -> sqlx::Result<()> {
        AnyConnectionBackend::commit(session).await
    }

    async fn rollback(session: &mut Session) -> sqlx::Result<()> {
        AnyConnectionBackend::rollback(session).await
    }

    fn start_rollback(session: &mut Session) {
        AnyConnectionBackend::start_rollback(session);
    }

    fn get_transaction_depth(session: &Session) -> usize {
        AnyConnectionBackend::get_transaction_depth(session)
    }
}

impl Row for Never {
    type Database = Postgres;

    fn columns(&self) -> &[Self] {
        match *self {}
    }

    fn try_get_raw<I: ColumnIndex<Self>>(&self, _: I) -> sqlx::Result<Self> {
        match *self {}
    }
}

impl Column for Never {
    type Database = Postgres;

    fn ordinal(&self) -> usize {
        match *self {}
    }

    fn name(&self) -> &str {
        match *self {}
    }

    fn type_info(&self) -> &PgTypeInfo {
        match *self {}
    }
}

impl Value for Never {
    type Database = Postgres;

    fn as_ref(&self) -> Self {
        match *self {}
    }

    fn type_info(&self) -> Cow<'_, PgTypeInfo> {
        match *self {}
    }

    fn is_null(&self) -> bool {
        match *self {}
    }
}

impl ValueRef<'_> for Never {
    type Database = Postgres;

    fn to_owned(&self) -> Self {
        match *self {}
    }

    fn type_info(&self) -> Cow<'_, PgTypeInfo> {
        match *self {}
    }

    fn is_null(&self) -> bool {
        match *self {}
    }
}

impl Arguments for NoArguments {
    type Database = Postgres;

    fn reserve(&mut self, _: usize, _: usize) {}

    fn add<'t, T: sqlx::Encode<'t, Postgres> + sqlx::Type<Postgres>>(&mut self, _: T) -> Result<(), sqlx::error::BoxDynError> {
        Err("statements take arguments of sqlx's Any".into())
    }

    fn len(&self) -> usize {
        0
    }
}

impl Statement for Never {
    type Database = Postgres;

    fn into_sql(self) -> SqlStr {
        match self {}
    }

    fn sql(&self) -> &SqlStr {
        match *self {}
    }

    fn parameters(&self) -> Option<Either<&[PgTypeInfo], usize>> {
        match *self {}
    }

    fn columns(&self) -> &[Self] {
        match *self {}
    }

    fn query(&self) -> Query<'_, Postgres, NoArguments> {
        match *self {}
    }

    fn query_with<A: IntoArguments<Postgres>>(&self, _: A) -> Query<'_, Postgres, A> {
        match *self {}
    }

    fn query_as<O: for<'r> FromRow<'r, Self>>(&self) -> QueryAs<'_, Postgres, O, NoArguments> {
        match *self {}
    }

    fn query_as_with<'s, O: for<'r> FromRow<'r, Self>, A: IntoArguments<Postgres>>(&'s self, _: A) -> QueryAs<'s, Postgres, O, A> {
        match *self {}
    }

    fn query_scalar<O>(&self) -> QueryScalar<'_, Postgres, O, NoArguments>
    where
        (O,): for<'r> FromRow<'r, Self>,
    {
        match *self {}
    }

    fn query_scalar_with<'s, O, A: IntoArguments<Postgres>>(&'s self, _: A) -> QueryScalar<'s, Postgres, O, A>
    where
        (O,): for<'r> FromRow<'r, Self>,
    {
        match *self {}
    }
}
