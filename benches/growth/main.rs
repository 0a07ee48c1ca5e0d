//! What tokens that can be taken back leave behind: rows, bytes of the database and of the status lists, the CPU time of publishing, and the
//! memory of a verifier.
//!
//! ```sh
//! cargo bench --features growth --bench growth                        # both parts
//! cargo bench --features growth --bench growth -- tokens [DIVISOR]    # 1,000,000 tokens of 1,000 clients and 100,000 logins
//! cargo bench --features growth --bench growth -- clients [DIVISOR]   # 1,000,000 clients and 1,000,000 logins (SL5)
//! ```
//!
//! DIVISOR makes everything smaller by this factor, for a trial. The database is a file in the temporary folder (`TMPDIR`), of about 2 GB in the
//! second part.
//!
//! The server runs in this process, and the benchmark moves its clock. Every token is issued by a request over HTTP, and by the code that issues
//! all tokens: client credentials for clients, refresh tokens for logins. Rows are inserted only for what exists before: clients, users, and logins
//! that have not been given a position in a status list. A sign-in for each would hash a million passwords. The second part also inserts spans and
//! positions, at random places and in lists as full as those of the server, but for the last hundredth, which the server places itself. Tokens are
//! signed with ES256, so that signatures take the smaller part of the time.

mod figures;
mod issuer;
mod requests;
mod seeds;
mod verifier;

use std::{alloc::System, time::Duration};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use figures::Figures;
use issuer::Issuer;
use requests::load;
use seeds::login_id;

/// Counts the memory of the verifier, which is this program in a process of its own.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn main() {
    // `cargo bench` passes `--bench`.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let part = arguments.next();
    if part.as_deref() == Some(verifier::ARGUMENT) {
        return verifier::run();
    }
    let divisor: u64 = arguments.next().map_or(1, |text| text.parse().expect("DIVISOR is a number"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match part.as_deref() {
        None => {
            runtime.block_on(tokens(1));
            runtime.block_on(clients(1));
        }
        Some("tokens") => runtime.block_on(tokens(divisor)),
        Some("clients") => runtime.block_on(clients(divisor)),
        Some(other) => panic!("{other}: tokens or clients"),
    }
}

/// Many tokens of some clients and logins, until all of it has expired.
async fn tokens(divisor: u64) {
    let (clients, logins, tokens) = (1_000 / divisor, 100_000 / divisor, 1_000_000 / divisor);
    println!("\n# {tokens} tokens of {clients} clients and {logins} logins");
    let issuer = Issuer::start().await;
    issuer.seed_clients(0..clients).await;
    issuer.seed_logins(0..logins).await;
    let mut figures = Figures::begin(&issuer).await;

    let issued = issuer.meters.tokens_issued.get();
    for generation in 1..=2 {
        let requests = issuer.requests.clone();
        let loaded = load(issuer.addr, logins, move |number| requests.refresh(&login_id(number), generation)).await;
        println!("{logins} tokens of logins: {loaded}");
    }
    let (requests, own) = (issuer.requests.clone(), tokens - 2 * logins);
    let loaded = load(issuer.addr, own, move |number| requests.client(number % clients)).await;
    println!("{own} tokens of clients: {loaded}");
    issuer.notice().await;
    let issued = issuer.meters.tokens_issued.get() - issued;
    figures.print(&issuer, &format!("{issued} tokens issued, none revoked"), true).await;

    revoke(&issuer, clients, logins).await;
    figures.print(&issuer, "5 % of the clients and 10 % of the logins revoked", true).await;

    issuer.pass_often(HOUR, 26).await;
    let took = issuer.settle().await;
    println!("\nafter 26 hours, old rows were gone within {} s of the server's time", took.as_secs());
    figures.print(&issuer, "a day later: the tokens, their revocations and the spans that had ended have expired", false).await;

    issuer.pass_often(DAY, 15).await;
    let took = issuer.settle().await;
    println!("\nafter 15 more days, old rows were gone within {} s of the server's time", took.as_secs());
    figures.print(&issuer, "two weeks later: the logins have expired", false).await;
}

/// Many clients and logins, each with a token.
async fn clients(divisor: u64) {
    let (count, placed) = (1_000_000 / divisor, 990_000 / divisor);
    println!("\n# {count} clients and {count} logins");
    let issuer = Issuer::start().await;
    issuer.seed_clients(0..count).await;
    issuer.seed_logins(0..count).await;
    issuer.place_clients(placed).await;
    issuer.place_logins(placed).await;
    let mut figures = Figures::begin(&issuer).await;

    let requests = issuer.requests.clone();
    let loaded = load(issuer.addr, count - placed, move |number| requests.client(placed + number)).await;
    println!("the first tokens of the last {} clients: {loaded}", count - placed);
    let requests = issuer.requests.clone();
    let loaded = load(issuer.addr, count - placed, move |number| requests.refresh(&login_id(placed + number), 1)).await;
    println!("the first tokens of the last {} logins: {loaded}", count - placed);
    issuer.notice().await;
    figures.print(&issuer, "every client and every login has a position, none revoked", true).await;

    revoke(&issuer, count, count).await;
    figures.print(&issuer, "5 % of the clients and 10 % of the logins revoked", true).await;
}

/// Revokes the tokens of every twentieth client, which goes on, and ends every tenth login.
async fn revoke(issuer: &Issuer, clients: u64, logins: u64) {
    issuer.revoke_tokens_of_clients((0..clients).step_by(20)).await;
    let requests = issuer.requests.clone();
    let loaded = load(issuer.addr, logins.div_ceil(10), move |number| requests.revoke(&login_id(number * 10), 1)).await;
    println!("\n{} logins revoked: {loaded}", logins.div_ceil(10));
    issuer.notice().await;
    let requests = issuer.requests.clone();
    let loaded = load(issuer.addr, clients.div_ceil(20), move |number| requests.client(number * 20)).await;
    println!("{} revoked clients go on: {loaded}", clients.div_ceil(20));
    issuer.notice().await;
}
