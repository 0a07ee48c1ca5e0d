//! One connection to PostgreSQL as sqlx's `Any` uses it, in a way that works behind a pooler.

use std::task::Poll;

use futures_util::{
    FutureExt, StreamExt, TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use sqlx::{
    Connection, Either, PgConnection, SqlSafeStr, SqlStr,
    any::{AnyArguments, AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo},
};
use sqlx_core::any::AnyConnectionBackend;

use super::connect::{BEGIN_POOLED, Connected, require_writable};

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(super) connection: PgConnection,
    pooled: bool,
    /// Whether the last thing that was asked of the server was answered without an error, since the last [`ping`](AnyConnectionBackend::ping). The rest of
    /// the answer may not have been read: that is done before the next statement.
    answered: bool,
}

type Step = Either<AnyQueryResult, AnyRow>;

impl Session {
    pub(super) fn new(Connected { connection, pooled }: Connected) -> Self {
        Self { connection, pooled, answered: false }
    }

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
