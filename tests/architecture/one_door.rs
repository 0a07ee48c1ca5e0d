//! What has one door only: the database, the system clock, the source of randomness.

use crate::source::{Finding, Named, Source, caught};

/// SQL outside the store.
pub(crate) fn sql(source: &Source) -> Vec<Finding> {
    if source.path.starts_with("src/server/store/") {
        return Vec::new();
    }
    let foreign = |path: &Named| path.segments.iter().any(|word| word.starts_with("sqlx"));
    object(source, foreign, "all the SQL there is stands in src/server/store: give the store a method for it")
}

/// Readings of the system clock outside `clock.rs`, and the types that exist to be read from it.
pub(crate) fn clock(source: &Source) -> Vec<Finding> {
    if source.path == "src/clock.rs" {
        return Vec::new();
    }
    // Any `Type::now`, whichever library it comes from; our own `Clock` is asked what time it is by everybody.
    let read = |path: &Named| {
        path.segments.windows(2).any(|pair| pair[1].split('_').next() == Some("now") && !pair[0].ends_with("Clock"))
            || path.segments.iter().any(|word| ["SystemTime", "UNIX_EPOCH"].contains(&word.as_str()))
            // On its own it must have been imported, which is caught; governor has an associated type of this name.
            || path.segments.len() > 1 && path.segments.iter().any(|word| word == "Instant")
    };
    object(source, read, "time comes from crate::clock (Clock, Stopwatch), so that tests can move it")
}

/// Names under which libraries offer randomness. `rand` is also the module of aws-lc-rs.
const RANDOMNESS: [&str; 13] = [
    "OsRng",
    "SysRng",
    "SystemRandom",
    "ThreadRng",
    "fastrand",
    "getrandom",
    "new_v4",
    "rand",
    "rand_bytes",
    "rand_chacha",
    "rand_core",
    "random_bytes",
    "thread_rng",
];

/// Sources of randomness outside `src/entropy`.
pub(crate) fn randomness(source: &Source) -> Vec<Finding> {
    if source.path.starts_with("src/entropy/") {
        return Vec::new();
    }
    // aws-lc-rs asks for this parameter wherever it signs. RS256 and Ed25519 are deterministic; PS256 and ES256 draw a salt
    // and a nonce, and aws-lc takes these, like new keys of its own types, only from its own generator, whatever the parameter.
    let for_signing = |path: &Named| {
        let path: Vec<&str> = path.segments.iter().map(String::as_str).collect();
        ["src/signing/generate.rs", "src/signing/key_pair.rs", "src/verifier/testing/published.rs"].contains(&source.path.as_str())
            && matches!(path[..], ["aws_lc_rs", "rand", "SystemRandom"] | ["SystemRandom"] | ["SystemRandom", "new"])
    };
    // Version 4 of IP, and not of UUIDs.
    let socket = |path: &Named| path.segments.iter().any(|word| word == "TcpSocket");
    let drawn = |path: &Named| !socket(path) && path.segments.iter().any(|word| RANDOMNESS.contains(&word.as_str())) && !for_signing(path);
    object(source, drawn, "randomness comes from crate::entropy")
}

fn object(source: &Source, to: impl Fn(&Named) -> bool, advice: &str) -> Vec<Finding> {
    let paths = source.paths();
    let found = paths.iter().filter(|path| to(path));
    found.map(|path| source.finding(path.line, format!("`{}`: {advice}", path.segments.join("::")))).collect()
}

#[test]
fn sql_outside_the_store_is_caught() {
    for text in
        ["use sqlx::Row;", "fn f() { sqlx::query(\"\"); }", "use {std::fmt, ::sqlx as db};", "m!(sqlx::Error);", "extern crate sqlx;"]
    {
        assert_eq!(caught(sql, "src/server/registry/mod.rs", text), [1], "{text}");
        assert_eq!(caught(sql, "src/server/store/clients.rs", text), [], "{text}");
    }
    assert_eq!(caught(sql, "src/server/telemetry/targets.rs", "/// sqlx\nconst LOG: &str = \"info,sqlx=warn\";"), []);
}

#[test]
fn a_reading_of_the_system_clock_is_caught() {
    for text in [
        "fn f() { std::time::SystemTime::now(); }",
        "use std::time::{Duration, Instant};",
        "use std::{fmt, time::SystemTime as Time};",
        "fn f() { tokio::time::Instant::now(); }",
        "fn f() { time::OffsetDateTime::now_utc(); }",
        "fn f() { chrono::Utc::now(); }",
        "fn f() { x.map(UtcDateTime::now); }",
        "fn f() { UNIX_EPOCH.elapsed(); }",
        "fn f() { println!(\"{:?}\", Local::now()); }",
    ] {
        assert_eq!(caught(clock, "src/server/keys/ring.rs", text), [1], "{text}");
        assert_eq!(caught(clock, "src/clock.rs", text), [], "{text}");
    }
    let valid = "use std::time::Duration; async fn f(now: Timestamp) { clock.now(); Clock::now(&clock); tokio::time::sleep(wait).await; }";
    assert_eq!(caught(clock, "src/server/keys/ring.rs", valid), []);
}

#[test]
fn a_second_source_of_randomness_is_caught() {
    let signing = "use aws_lc_rs::{digest, rand::SystemRandom}; fn f() { key.sign(&SystemRandom::new()); }";
    for text in [
        "use rsa::rand_core::OsRng;",
        "fn f() { let x: u8 = rand::random(); }",
        "use aws_lc_rs::rand;",
        "use aws_lc_rs::{digest, rand::fill};",
        "fn f() { openssl::rand::rand_bytes(&mut b); }",
        "fn f() { getrandom::fill(&mut b); }",
        "fn f() { fastrand::u8(..); }",
        "fn f() { thread_rng().next_u32(); }",
        "fn f() { uuid::Uuid::new_v4(); }",
        "m!(SysRng);",
        "fn f() { SystemRandom::new().fill(&mut b); rand::fill(&mut b) }",
    ] {
        assert_eq!(caught(randomness, "src/signing/key_pair.rs", text), [1], "{text}");
        assert_eq!(caught(randomness, "src/entropy/mod.rs", text), [], "{text}");
    }
    assert_eq!(caught(randomness, "src/signing/key_pair.rs", signing), []);
    assert_eq!(caught(randomness, "src/server/keys/sealing.rs", signing), [1, 1]);
    assert_eq!(caught(randomness, "src/server/secret.rs", "use crate::entropy::{self, SystemRng}; // rand::random()"), []);
}
