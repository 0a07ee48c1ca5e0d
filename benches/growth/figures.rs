//! What is measured at one time.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use sealwright::clock::Clock;
use serde_json::Value;
use sqlx::Connection as _;

use crate::{
    issuer::{Issuer, token},
    requests::{Connection, get},
    verifier::VerifierProcess,
};

/// How often each list is fetched, and how often each is published.
const ROUNDS: u32 = 10;
/// Longer than the shortest time from one signature of a list to the next.
const PUBLISHED_WITHIN: Duration = Duration::from_millis(500);

/// Prints figures, and what has changed since it last did so.
pub struct Figures {
    rows: BTreeMap<String, i64>,
    verifier: VerifierProcess,
}

/// What fetching each list once gave.
struct Fetched {
    bytes: Vec<usize>,
    times: Vec<Duration>,
}

impl Figures {
    /// Begins with what there is before the first token, and prints it.
    pub async fn begin(issuer: &Issuer) -> Self {
        let rows = issuer.rows().await;
        let listed: Vec<String> = rows.iter().filter(|(_, count)| **count > 0).map(|(table, count)| format!("{table} {count}")).collect();
        println!("\nbefore the first token\n  rows        {}", listed.join(", "));
        print_database(issuer).await;
        Self { rows, verifier: VerifierProcess::start(&issuer.url, issuer.clock.now().seconds()) }
    }

    /// Prints the figures of this moment. With `valid`, the verifier checks a token of each list; else no token is valid any more, and it has
    /// forgotten all lists.
    pub async fn print(&mut self, issuer: &Issuer, when: &str, valid: bool) {
        println!("\n{when}");
        self.print_rows(issuer).await;
        print_database(issuer).await;
        let lists = paths_of_lists(issuer).await;
        print_fetches(issuer, &lists).await;
        self.print_verifier(issuer, valid).await;
        // Last, because it revokes.
        print_publishing(issuer, lists.len()).await;
        self.rows = issuer.rows().await;
    }

    async fn print_rows(&self, issuer: &Issuer) {
        let now = issuer.rows().await;
        let of = |rows: &BTreeMap<String, i64>, table: &String| rows.get(table).copied().unwrap_or_default();
        let changed = now.iter().filter(|(table, count)| of(&self.rows, table) != **count);
        let changed: Vec<String> = changed.map(|(table, count)| format!("{table} {} -> {count}", of(&self.rows, table))).collect();
        println!("  rows        {}", if changed.is_empty() { "none new, none deleted".to_owned() } else { changed.join(", ") });
    }

    async fn print_verifier(&mut self, issuer: &Issuer, valid: bool) {
        self.verifier.advance_to(issuer.clock.now().seconds());
        let memory = if valid {
            let (tokens, begun) = (token_of_each_list(issuer).await, Instant::now());
            let mut memory = self.verifier.without_lists;
            for token in &tokens {
                memory = self.verifier.verify(token);
            }
            println!("  verifier    {} tokens, one of each list, in {:.1} s", tokens.len(), begun.elapsed().as_secs_f64());
            memory
        } else {
            self.verifier.forget()
        };
        let before = self.verifier.without_lists;
        println!(
            "  verifier    {} lists, {} KiB of heap ({} without lists), {} KiB resident ({} without)",
            memory.lists, memory.heap_kib, before.heap_kib, memory.resident_kib, before.resident_kib
        );
    }
}

async fn print_database(issuer: &Issuer) {
    let mut sql = issuer.sql().await;
    let size = "SELECT page_count * page_size, freelist_count * page_size FROM pragma_page_count, pragma_page_size, pragma_freelist_count";
    let (all, free): (i64, i64) = sqlx::query_as(size).fetch_one(&mut sql).await.expect("its size");
    println!("  database    {:.1} MB, of which {:.1} MB are free", all as f64 / 1e6, free as f64 / 1e6);
}

/// The paths of all status lists.
async fn paths_of_lists(issuer: &Issuer) -> Vec<String> {
    let (status, body) = Connection::open(issuer.addr).await.send(&get("/oauth/status-lists")).await;
    assert_eq!(status, 200);
    let document: Value = serde_json::from_slice(&body).expect("JSON");
    let uris = document["status_lists"].as_array().expect("a list").iter().filter_map(Value::as_str);
    uris.map(|uri| uri.strip_prefix(&issuer.url).expect("a URI below the issuer").to_owned()).collect()
}

async fn print_fetches(issuer: &Issuer, lists: &[String]) {
    let mut connection = Connection::open(issuer.addr).await;
    // The first time, a list may have to be signed.
    let (mut bytes, mut times) = (fetch(&mut connection, lists).await.bytes, Vec::new());
    for _ in 0..ROUNDS {
        times.extend(fetch(&mut connection, lists).await.times);
    }
    bytes.sort_unstable();
    times.sort_unstable();
    println!(
        "  lists       {}, of {} to {} bytes (median {}), {} in all",
        bytes.len(),
        bytes[0],
        bytes[bytes.len() - 1],
        bytes[bytes.len() / 2],
        bytes.iter().sum::<usize>()
    );
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "  fetching    {:.2} ms (median), {:.2} ms (99 %) per list",
        millis(times[times.len() / 2]),
        millis(times[times.len() * 99 / 100])
    );
}

/// Fetches each list once.
async fn fetch(connection: &mut Connection, lists: &[String]) -> Fetched {
    let mut fetched = Fetched { bytes: Vec::new(), times: Vec::new() };
    for list in lists {
        let begun = Instant::now();
        let (status, body) = connection.send(&get(list)).await;
        fetched.times.push(begun.elapsed());
        assert_eq!(status, 200, "{list}");
        fetched.bytes.push(body.len());
    }
    fetched
}

/// A token of one client or login of each list.
async fn token_of_each_list(issuer: &Issuer) -> Vec<String> {
    let mut sql = issuer.sql().await;
    let clients = "SELECT MIN(client_id) FROM status_spans WHERE ends_at IS NULL AND client_id LIKE 'client-%' GROUP BY list_id";
    let clients: Vec<String> = sqlx::query_scalar(clients).fetch_all(&mut sql).await.expect("clients");
    // SQLite takes the other columns from the row with the minimum.
    let logins = "SELECT MIN(id), generation FROM logins
                  WHERE status_list IS NOT NULL AND ended_at IS NULL AND idle_ends_at > $1 GROUP BY status_list";
    let logins = sqlx::query_as(logins).bind(issuer.clock.now().seconds());
    let logins: Vec<(String, i64)> = logins.fetch_all(&mut sql).await.expect("logins");
    let (mut connection, mut tokens) = (Connection::open(issuer.addr).await, Vec::new());
    for client in clients {
        let number = client.strip_prefix("client-").and_then(|number| number.parse().ok()).expect("its number");
        tokens.push(token(&mut connection, &issuer.requests.client(number)).await);
    }
    for (login, generation) in logins {
        tokens.push(token(&mut connection, &issuer.requests.refresh(&login, generation)).await);
    }
    tokens
}

/// Revokes one position of each list, as the revocation of a token does, until each has been published ten times; then lets these revocations end.
async fn print_publishing(issuer: &Issuer, lists: usize) {
    let idle = publish(issuer, false).await;
    let signed = issuer.meters.status_lists_signed.get();
    let busy = publish(issuer, true).await;
    let signed = issuer.meters.status_lists_signed.get() - signed;
    let each = busy.saturating_sub(idle).as_secs_f64() * 1e3 / signed.max(1) as f64;
    println!("  publishing  {each:.2} ms of CPU per list ({lists} lists, {signed} publications)");
    issuer.pass_often(Duration::from_secs(60), 15).await;
    issuer.settle().await;
}

/// The CPU time of this process while the lists can be published ten times.
async fn publish(issuer: &Issuer, changing: bool) -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..ROUNDS {
        if changing {
            revoke_in_each_list(issuer).await;
        }
        let begun = cpu();
        // The first time, the server reads what has changed.
        issuer.pass_often(PUBLISHED_WITHIN, 3).await;
        spent += cpu().saturating_sub(begun);
    }
    spent
}

async fn revoke_in_each_list(issuer: &Issuer) {
    let mut sql = issuer.sql().await;
    let mut transaction = sql.begin().await.expect("a transaction");
    let raise = sqlx::query("UPDATE epochs SET n = n + 1 WHERE kind = 'revocations'");
    raise.execute(&mut *transaction).await.expect("raised");
    let insert = sqlx::query(
        "INSERT INTO revocations (epoch, list_id, start, width, revoked_at, expires_at)
         SELECT e.n, l.id, abs(random()) % 1048576, 1, $1, $1 + 60 FROM status_lists AS l, epochs AS e WHERE e.kind = 'revocations'",
    );
    insert.bind(issuer.clock.now().seconds()).execute(&mut *transaction).await.expect("rows");
    transaction.commit().await.expect("committed");
}

/// The CPU time of this process.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("less than a second"))
}
