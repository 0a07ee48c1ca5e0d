//! The PostgreSQL driver for sqlx's `Any`: sqlx's own connection, opened by [`Targets::connect`] and used in a way that works behind a
//! pooler.
//!
//! sqlx's own driver takes only a URL, which can neither omit a startup parameter nor name several hosts.

use std::borrow::Cow;

use futures_util::{
    FutureExt, StreamExt, TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use log::LevelFilter;
use sqlx::{
    Arguments, Column, ColumnIndex, ConnectOptions, Connection, Database, Either, Error, FromRow, IntoArguments, PgConnection, Row,
    SqlSafeStr, SqlStr, Statement, Value, ValueRef,
    any::{AnyArguments, AnyConnectOptions, AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo},
    postgres::{PgQueryResult, PgTypeInfo},
    query::{Query, QueryAs, QueryScalar},
};
use sqlx_core::{any::AnyConnectionBackend, transaction::TransactionManager};
use url::Url;

use super::connect::{BEGIN_POOLED, Targets, require_writable};

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    connection: PgConnection,
    pooled: bool,
}

type Step = Either<AnyQueryResult, AnyRow>;

impl Session {
    /// Whether the next statement needs a transaction around it, so that all its messages reach the same session of the server.
    fn needs_transaction(&self) -> bool {
        self.pooled && self.connection.get_transaction_depth() == 0
    }

    /// Runs one statement in its own transaction.
    async fn run_alone(&mut self, query: SqlStr, arguments: Option<AnyArguments>) -> sqlx::Result<Vec<Step>> {
        let mut transaction = self.connection.begin_with(BEGIN_POOLED).await?;
        let steps = transaction.as_mut().fetch_many_unnamed(query, arguments).try_collect().await?;
        transaction.commit().await?;
        Ok(steps)
    }
}

/// Runs statements without a name on the server: another client of the pooler may have used the name already.
trait Unnamed {
    fn fetch_many_unnamed(&mut self, query: SqlStr, arguments: Option<AnyArguments>) -> BoxStream<'_, sqlx::Result<Step>>;
}

impl Unnamed for PgConnection {
    fn fetch_many_unnamed(&mut self, query: SqlStr, arguments: Option<AnyArguments>) -> BoxStream<'_, sqlx::Result<Step>> {
        AnyConnectionBackend::fetch_many(self, query, false, arguments)
    }
}

impl AnyConnectionBackend for Session {
    fn name(&self) -> &str {
        self.connection.name()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, sqlx::Result<()>> {
        Connection::close(self.connection).boxed()
    }

    fn close_hard(self: Box<Self>) -> BoxFuture<'static, sqlx::Result<()>> {
        Connection::close_hard(self.connection).boxed()
    }

    /// The pool calls it before it lends a connection and when one is returned.
    fn ping(&mut self) -> BoxFuture<'_, sqlx::Result<()>> {
        require_writable(&mut self.connection).boxed()
    }

    fn begin(&mut self, statement: Option<SqlStr>) -> BoxFuture<'_, sqlx::Result<()>> {
        let statement = if self.needs_transaction() { Some(BEGIN_POOLED.into_sql_str()) } else { statement };
        AnyConnectionBackend::begin(&mut self.connection, statement)
    }

    fn commit(&mut self) -> BoxFuture<'_, sqlx::Result<()>> {
        self.connection.commit()
    }

    fn rollback(&mut self) -> BoxFuture<'_, sqlx::Result<()>> {
        self.connection.rollback()
    }

    fn start_rollback(&mut self) {
        self.connection.start_rollback();
    }

    fn get_transaction_depth(&self) -> usize {
        self.connection.get_transaction_depth()
    }

    fn shrink_buffers(&mut self) {
        Connection::shrink_buffers(&mut self.connection);
    }

    fn flush(&mut self) -> BoxFuture<'_, sqlx::Result<()>> {
        Connection::flush(&mut self.connection).boxed()
    }

    fn should_flush(&self) -> bool {
        Connection::should_flush(&self.connection)
    }

    fn fetch_many(&mut self, query: SqlStr, persistent: bool, arguments: Option<AnyArguments>) -> BoxStream<'_, sqlx::Result<Step>> {
        if self.needs_transaction() {
            let steps = stream::once(self.run_alone(query, arguments));
            return steps.map_ok(|steps| stream::iter(steps).map(Ok)).try_flatten().boxed();
        }
        AnyConnectionBackend::fetch_many(&mut self.connection, query, persistent && !self.pooled, arguments)
    }

    fn fetch_optional(
        &mut self,
        query: SqlStr,
        persistent: bool,
        arguments: Option<AnyArguments>,
    ) -> BoxFuture<'_, sqlx::Result<Option<AnyRow>>> {
        if self.needs_transaction() {
            let steps = self.run_alone(query, arguments);
            return async move { Ok(steps.await?.into_iter().find_map(Either::right)) }.boxed();
        }
        AnyConnectionBackend::fetch_optional(&mut self.connection, query, persistent && !self.pooled, arguments)
    }

    fn prepare_with<'c, 'q: 'c>(&'c mut self, sql: SqlStr, parameters: &[AnyTypeInfo]) -> BoxFuture<'c, sqlx::Result<AnyStatement>> {
        AnyConnectionBackend::prepare_with(&mut self.connection, sql, parameters)
    }
}

impl ConnectOptions for Targets {
    type Connection = Session;

    fn from_url(url: &Url) -> sqlx::Result<Self> {
        Self::from_url(url)
    }

    async fn connect(&self) -> sqlx::Result<Session> {
        let connected = self.connect().await?;
        Ok(Session { connection: connected.connection, pooled: connected.pooled })
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
