//! Rows of what exists before the first token, copied from those that the server and its commands have made.

use std::ops::Range;

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand,
};
use sealwright::clock::Clock;
use sealwright_benches::encode;
use serde_json::json;
use sqlx::{Connection, Executor, SqliteConnection};

use crate::issuer::Issuer;

/// The width of a client's span, and how many spans and logins the server puts in a list before it begins another.
const WIDTH: u64 = 256;
const SPANS_OF_LIST: u64 = 2_949;
const LOGINS_OF_LIST: u64 = 545_259;
/// How many clients are inserted by one statement.
const BATCH: usize = 10_000;

/// Of the clients from `$1` on, one for each digest of a secret in `$2`.
const CLIENTS: [&str; 3] = [
    "INSERT INTO clients (id, auth_methods, grants, created_at, tokens_since)
     SELECT 'client-' || ($1 + new.key), app.auth_methods, 'client_credentials', app.created_at, app.tokens_since
     FROM json_each($2) AS new, clients AS app WHERE app.id = 'shop'",
    "INSERT INTO client_permissions (client_id, audience, scope)
     SELECT 'client-' || ($1 + new.key), app.audience, app.scope FROM json_each($2) AS new, client_permissions AS app WHERE app.client_id = 'shop'",
    "INSERT INTO client_secrets (id, client_id, digest, created_at)
     SELECT printf('%016x', $1 + new.key), 'client-' || ($1 + new.key), new.value, app.created_at
     FROM json_each($2) AS new, clients AS app WHERE app.id = 'shop'",
];

/// Of the users and their logins from `$1` to `$2`, without positions.
const LOGINS: [&str; 3] = [
    "WITH RECURSIVE numbers (n) AS (SELECT $1 UNION ALL SELECT n + 1 FROM numbers WHERE n < $2 - 1)
     INSERT INTO users (sub, username, password_hash, created_at)
     SELECT printf('00000000-0000-4000-8000-%012x', n), 'user-' || n, app.password_hash, app.created_at
     FROM numbers, users AS app WHERE app.username = 'alice'",
    "WITH RECURSIVE numbers (n) AS (SELECT $1 UNION ALL SELECT n + 1 FROM numbers WHERE n < $2 - 1)
     INSERT INTO user_permissions (sub, audience, scope)
     SELECT printf('00000000-0000-4000-8000-%012x', n), app.audience, app.scope
     FROM numbers, user_permissions AS app, users AS alice WHERE alice.username = 'alice' AND app.sub = alice.sub",
    "WITH RECURSIVE numbers (n) AS (SELECT $1 UNION ALL SELECT n + 1 FROM numbers WHERE n < $2 - 1)
     INSERT INTO logins (id, sub, client_id, audience, scope, generation, created_at, stepped_at, idle_ends_at, absolute_ends_at)
     SELECT printf('%022d', n), printf('00000000-0000-4000-8000-%012x', n), app.client_id, app.audience, app.scope, 1,
            app.created_at, app.stepped_at, app.idle_ends_at, app.absolute_ends_at
     FROM numbers, (SELECT * FROM logins ORDER BY rowid LIMIT 1) AS app",
];

/// The spans of the clients from `$1` to `$2` in the list `$3`, created at `$4`.
const PLACE_CLIENTS: &str = "WITH RECURSIVE places (place) AS (SELECT 0 UNION ALL SELECT place + 1 FROM places WHERE place < 4095),
          chosen (n, place) AS (SELECT $1 - 1 + row_number() OVER (ORDER BY random()), place FROM places)
     INSERT INTO status_spans (list_id, start, width, client_id, set_bits, created_at)
     SELECT $3, place * 256, 256, 'client-' || n, 0, $4 FROM chosen WHERE n < $2";

/// The positions of the logins from `$1` to `$2` in the list `$3`.
const PLACE_LOGINS: &str = "WITH RECURSIVE places (place) AS (SELECT 0 UNION ALL SELECT place + 1 FROM places WHERE place < 1048575),
          chosen (n, place) AS (SELECT $1 - 1 + row_number() OVER (ORDER BY random()), place FROM places)
     UPDATE logins SET status_list = $3, status_index = chosen.place FROM chosen WHERE n < $2 AND logins.id = printf('%022d', n)";

pub fn client_id(number: u64) -> String {
    format!("client-{number}")
}

pub fn login_id(number: u64) -> String {
    format!("{number:022}")
}

/// The secret of a client: prefix, id, what would be 256 random bits, CRC-32.
pub fn client_secret(number: u64) -> String {
    let body = format!("sw_{number:016x}{}", "A".repeat(43));
    let checksum = encode(crc32fast::hash(body.as_bytes()).to_be_bytes());
    body + &checksum
}

/// For binding: SQLite has no unsigned numbers.
fn bound(number: u64) -> i64 {
    i64::try_from(number).expect("a number of rows")
}

impl Issuer {
    /// A connection of the benchmark's own. What it writes need not survive a loss of power.
    pub async fn sql(&self) -> SqliteConnection {
        let mut sql = SqliteConnection::connect(&format!("{}?mode=rw", self.database)).await.expect("the database");
        sql.execute("PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; PRAGMA cache_size = -500000").await.expect("its settings");
        sql
    }

    /// Creates clients that may have tokens for themselves.
    pub async fn seed_clients(&self, numbers: Range<u64>) {
        let mut sql = self.sql().await;
        for first in numbers.clone().step_by(BATCH) {
            let batch = first..numbers.end.min(first + BATCH as u64);
            let digests: Vec<String> = batch.map(|number| encode(digest(&SHA256, client_secret(number).as_bytes()))).collect();
            let digests = json!(digests).to_string();
            let mut transaction = sql.begin().await.expect("a transaction");
            for insert in CLIENTS {
                let insert = sqlx::query(insert).bind(bound(first)).bind(digests.clone());
                insert.execute(&mut *transaction).await.expect("rows");
            }
            transaction.commit().await.expect("committed");
        }
        self.changed(sql).await;
    }

    /// Creates users with a login each. The server gives each a position when it is refreshed.
    pub async fn seed_logins(&self, numbers: Range<u64>) {
        let mut sql = self.sql().await;
        for insert in LOGINS {
            let insert = sqlx::query(insert).bind(bound(numbers.start)).bind(bound(numbers.end));
            insert.execute(&mut sql).await.expect("rows");
        }
        self.changed(sql).await;
    }

    /// Gives the first clients a span each.
    pub async fn place_clients(&self, count: u64) {
        self.place(count, WIDTH, SPANS_OF_LIST, PLACE_CLIENTS).await;
    }

    /// Gives the first logins a position each.
    pub async fn place_logins(&self, count: u64) {
        self.place(count, 1, LOGINS_OF_LIST, PLACE_LOGINS).await;
    }

    async fn place(&self, count: u64, width: u64, of_list: u64, statement: &'static str) {
        let mut sql = self.sql().await;
        // The server goes on with the newest list of a width. It is later than the one in which the first login has its position.
        let newest = self.clock.now().seconds() + 1;
        let lists = count.div_ceil(of_list);
        for number in 0..lists {
            let mut id = [0; 16];
            rand::fill(&mut id).expect("random bytes");
            let id = encode(id);
            let created_at = if number + 1 == lists { newest } else { newest - 3600 };
            let list = sqlx::query("INSERT INTO status_lists (id, width, created_at) VALUES ($1, $2, $3)").bind(id.clone());
            list.bind(bound(width)).bind(created_at).execute(&mut sql).await.expect("a list");
            let (first, end) = (number * of_list, count.min((number + 1) * of_list));
            let place = sqlx::query(statement).bind(bound(first)).bind(bound(end)).bind(id).bind(created_at);
            place.execute(&mut sql).await.expect("rows");
        }
        self.changed(sql).await;
    }

    /// Has the server notice what was written.
    async fn changed(&self, mut sql: SqliteConnection) {
        sql.execute("UPDATE epochs SET n = n + 1 WHERE kind IN ('registry', 'revocations')").await.expect("raised");
        sql.close().await.expect("closed");
        self.notice().await;
    }
}
