//! The PostgreSQL driver for sqlx's `Any`: sqlx's own connection, opened by [`Targets::connect`] and used in a way that works behind a
//! pooler.
//!
//! sqlx's own driver takes only a URL, which can neither omit a startup parameter nor name several hosts.

use std::task::Poll;

use futures_util::{
    FutureExt, StreamExt, TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use log::LevelFilter;
use sqlx::{
    ConnectOptions, Connection, Database, Either, Error, PgConnection, SqlSafeStr, SqlStr,
    any::{AnyArguments, AnyConnectOptions, AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo},
    postgres::{PgQueryResult, PgTypeInfo},
};
use sqlx_core::{any::AnyConnectionBackend, transaction::TransactionManager};
use url::Url;

use super::{
    connect::{BEGIN_POOLED, Targets, require_writable},
    never::{Never, NoArguments},
};

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    connection: PgConnection,
    pooled: bool,
    /// Whether the last thing that was asked of the server was answered without an error, since the last [`ping`](AnyConnectionBackend::ping). The rest of
    /// the answer may not have been read: that is done before the next statement.
    answered: bool,
}

type Step = Either<AnyQueryResult, AnyRow>;

impl Session {
    /// Whether the next statement needs a transaction around it, so that all its messages reach the same session of the server.
    fn needs_transaction(&self) -> bool {
        self.pooled && self.connection.get_transaction_depth() == 0
    }

    /// Notes that an answer has come if it is one without an error. While it is awaited, none has come: the caller may be dropped.
    async fn noting<T>(answered: &mut bool, asked: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
        *answered = false;
        let outcome = asked.await;
        *answered = outcome.is_ok();
        outcome
    }

    /// Runs one statement in its own transaction.
    async fn run_alone(&mut self, query: SqlStr, arguments: Option<AnyArguments>) -> sqlx::Result<Vec<Step>> {
        let Self { connection, answered, .. } = self;
        let run = async {
            let mut transaction = connection.begin_with(BEGIN_POOLED).await?;
            let steps = transaction.as_mut().fetch_many_unnamed(query, arguments).try_collect().await?;
            transaction.commit().await?;
            Ok(steps)
        };
        Self::noting(answered, run).await
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

    /// The pool calls it before it lends a connection and when one is returned. One that is returned after an answer is not asked: the pool will ask it
    /// before it lends it again (`test_before_acquire`). One that is returned in the middle of something is.
    fn ping(&mut self) -> BoxFuture<'_, sqlx::Result<()>> {
        if std::mem::take(&mut self.answered) {
            return std::future::ready(Ok(())).boxed();
        }
        require_writable(&mut self.connection).boxed()
    }

    fn begin(&mut self, statement: Option<SqlStr>) -> BoxFuture<'_, sqlx::Result<()>> {
        let statement = if self.needs_transaction() { Some(BEGIN_POOLED.into_sql_str()) } else { statement };
        self.answered = false;
        AnyConnectionBackend::begin(&mut self.connection, statement)
    }

    fn commit(&mut self) -> BoxFuture<'_, sqlx::Result<()>> {
        Self::noting(&mut self.answered, self.connection.commit()).boxed()
    }

    fn rollback(&mut self) -> BoxFuture<'_, sqlx::Result<()>> {
        self.answered = false;
        self.connection.rollback()
    }

    fn start_rollback(&mut self) {
        self.answered = false;
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
        self.answered = false;
        let Self { connection, pooled, answered } = self;
        let answers = AnyConnectionBackend::fetch_many(connection, query, persistent && !*pooled, arguments);
        let end = stream::poll_fn(|_| {
            *answered = true;
            Poll::Ready(None)
        });
        answers.chain(end).boxed()
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
        let Self { connection, pooled, answered } = self;
        Self::noting(answered, AnyConnectionBackend::fetch_optional(connection, query, persistent && !*pooled, arguments)).boxed()
    }

    fn prepare_with<'c, 'q: 'c>(&'c mut self, sql: SqlStr, parameters: &[AnyTypeInfo]) -> BoxFuture<'c, sqlx::Result<AnyStatement>> {
        self.answered = false;
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
        Ok(Session { connection: connected.connection, pooled: connected.pooled, answered: false })
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

/// The driver's type for sqlx. Its rows, values and statements are those of `Any`; the uninhabited types of `never` only satisfy sqlx's traits.
#[derive(Debug)]
pub(crate) struct Postgres;

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
