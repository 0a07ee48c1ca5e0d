use sqlx::Row;

use super::{Error, Store};

/// Selects names beside `$1` in order: at most `$2` before it and as many after it. The index of the names serves both.
macro_rules! select {
    ($table:literal, $name:literal) => {
        concat!(
            "SELECT name FROM (SELECT ",
            $name,
            " AS name FROM ",
            $table,
            " WHERE ",
            $name,
            " >= $1 ORDER BY ",
            $name,
            " LIMIT $2) later
             UNION ALL
             SELECT name FROM (SELECT ",
            $name,
            " AS name FROM ",
            $table,
            " WHERE ",
            $name,
            " < $1 ORDER BY ",
            $name,
            " DESC LIMIT $2) earlier"
        )
    };
}

/// The kinds of names that operators type.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NameOf {
    Client,
    User,
    Resource,
    Scope,
}

impl Store {
    /// How many names are read on either side. A smaller database is read whole.
    const NEIGHBORS: i64 = 500;

    /// The existing names beside `name` in alphabetical order. However many there are, few are read.
    pub(crate) async fn list_neighbors(&self, of: NameOf, name: &str) -> Result<Vec<String>, Error> {
        let sql = match of {
            NameOf::Client => select!("clients", "id"),
            NameOf::User => select!("users", "username"),
            NameOf::Resource => select!("resources", "audience"),
            // Several resources may own a scope token of the same name.
            NameOf::Scope => select!("(SELECT DISTINCT scope FROM resource_scopes) s", "scope"),
        };
        let rows = sqlx::query(sql).bind(name.to_owned()).bind(Self::NEIGHBORS).fetch_all(&self.pool).await?;
        Ok(rows.iter().map(|row| row.try_get("name")).collect::<Result<_, _>>()?)
    }
}
