//! PostgreSQL: parsing its URL, opening connections, and the driver that offers them to sqlx's `Any`.

mod connect;
mod driver;
mod session;
mod tls;
mod url;

pub(super) use connect::Refusal;
pub(super) use driver::Postgres;
pub(crate) use tls::DatabaseTls;
pub(crate) use url::PostgresUrl;
