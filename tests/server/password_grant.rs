//! The password grant: RFC 6749 section 4.3.

use std::{collections::BTreeMap, time::Duration};

use reqwest::header::HeaderMap;
use sealwright::protocol::GrantType;

use crate::support::{
    Answer, Backend, Credential, PASSWORD, Process, SIGN_IN, TestApp, TestDatabase, command_on, furnish, on_both_databases, on_sqlite,
};

on_both_databases![
    pw11_all_spellings_of_a_user_name_share_one_counter,
    pw16_a_password_is_hashed_by_argon2id_and_rehashed_when_parameters_are_raised,
    a_sign_in_grants_the_scope_that_both_client_and_user_may_have,
    faults_of_the_server_do_not_count_as_failed_attempts,
    many_users_can_sign_in_at_once_after_parameters_were_raised,
];

on_sqlite![
    pw1_the_password_grant_is_for_clients_that_were_given_it_and_can_be_switched_off,
    pw2_a_correct_password_with_a_wrong_client_counts_for_no_limit,
    pw3_pw4_every_cause_gets_the_same_answer_for_one_hash,
    pw10_a_forwarded_address_is_ignored_without_a_trusted_proxy,
    pw12_every_character_of_a_long_password_counts_and_a_password_that_is_too_long_is_not_hashed,
    pw13_pw14_a_password_is_refused_with_the_reason,
    ten_failures_are_free_and_then_one_every_ten_seconds,
];

async fn try_password(app: &TestApp, client: &Credential, username: &str, password: &str) -> Answer {
    app.token(client, &format!("grant_type=password&username={username}&password={password}")).await
}

#[track_caller]
fn refused_for(outcome: Result<(), String>, reason: &str) {
    assert!(outcome.as_ref().is_err_and(|error| error.contains(reason)), "{outcome:?}, expected {reason}");
}

async fn pw1_the_password_grant_is_for_clients_that_were_given_it_and_can_be_switched_off(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let other = app.client("other");
    app.sign_in(&client).await.granted();
    app.sign_in(&other).await.refused(400, "unauthorized_client");
    assert_eq!(app.meters.password_hashes.get(), 1);

    let app = TestApp::start_with(app.stop().await, &[("password_grant", "false")]).await;
    app.sign_in(&client).await.refused(400, "unsupported_grant_type");
    let grants = app.get("/.well-known/oauth-authorization-server").await.json()["grant_types_supported"].clone();
    assert_eq!(grants, serde_json::json!(["client_credentials", "refresh_token"]));
}

async fn pw2_a_correct_password_with_a_wrong_client_counts_for_no_limit(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let wrong = Credential { secret: "wrong".to_owned(), ..client.clone() };
    for _ in 0..5 {
        app.sign_in(&wrong).await.refused(401, "invalid_client");
    }
    assert_eq!(app.meters.password_hashes.get(), 0);
    // All ten failures of alice are still free: the correct password after nine is accepted.
    for _ in 0..9 {
        try_password(&app, &client, "alice", "wrong").await.refused(400, "invalid_grant");
    }
    app.sign_in(&client).await.granted();
}

/// What a caller sees of an answer, except for what differs between any two answers.
fn seen(answer: &Answer) -> (u16, HeaderMap, String) {
    let mut headers = answer.headers.clone();
    headers.remove("date").unwrap();
    headers.remove("x-request-id").unwrap();
    (answer.status, headers, answer.body.clone())
}

async fn pw3_pw4_every_cause_gets_the_same_answer_for_one_hash(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    app.user("disabled");
    app.database.disable_user("disabled");
    let right = PASSWORD.replace(' ', "+");
    let long = "x".repeat(1000);
    let attempts = [
        ("alice", "wrong"),
        ("unknown", "wrong"),
        ("unknown", &right),
        ("disabled", &right),
        ("disabled", "wrong"),
        ("alice", &long),
        ("not%20a%20name", &right),
        ("alice", "%1b%07"),
    ];
    let mut answers = Vec::new();
    for (username, password) in attempts {
        let before = app.meters.password_hashes.get();
        let answer = try_password(&app, &client, username, password).await;
        assert_eq!(app.meters.password_hashes.get() - before, 1, "{username}");
        answer.refused(400, "invalid_grant");
        answers.push(seen(&answer));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");

    let before = app.meters.password_hashes.get();
    for body in ["username=alice&password=", "username=alice", "username=&password=x", "password=x", ""] {
        app.token(&client, &format!("grant_type=password&{body}")).await.refused(400, "invalid_request");
    }
    assert_eq!(app.meters.password_hashes.get(), before, "nothing to hash");

    // The same for a limited name.
    let mut throttled = Vec::new();
    for username in ["alice", "unknown"] {
        let mut last = try_password(&app, &client, username, "wrong").await;
        while last.status == 400 {
            last = try_password(&app, &client, username, "wrong").await;
        }
        throttled.push(seen(&last));
    }
    assert_eq!(throttled[0], throttled[1]);
    assert_eq!(throttled[0].0, 429);
}

async fn pw10_a_forwarded_address_is_ignored_without_a_trusted_proxy(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let mut refused = 0;
    for number in 0..15 {
        let forwarded = ["203.0.113.7", "junk", "::1", "\"unknown\""][number % 4];
        let request = app.token_request("grant_type=client_credentials").basic_auth(&client.id, Some("wrong"));
        let request =
            request.header("x-forwarded-for", format!("{forwarded}, 198.51.100.{number}")).header("forwarded", format!("for={forwarded}"));
        refused += usize::from(Answer::to(request.header("x-real-ip", forwarded)).await.status == 429);
    }
    assert_eq!(refused, 5, "all count for the address of the connection");
}

async fn pw11_all_spellings_of_a_user_name_share_one_counter(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let password = PASSWORD.replace(' ', "+");
    let spellings = ["Alice", "+alice", "ALICE", "alice+", "%EF%BC%A1lice", "%ef%bd%81%ef%bd%8c%ef%bd%89%ef%bd%83%ef%bd%85"];
    for spelling in spellings {
        try_password(&app, &client, spelling, &password).await.granted();
    }
    for name in ["Alice", "ALICE", "\u{ff21}lice", " alice"] {
        let refused = app.database.try_user(name, PASSWORD, BTreeMap::new()).unwrap_err();
        assert_eq!(refused, "the user alice already exists; `sealwright user update` changes it");
    }
    app.user("andré");
    for spelling in ["andr%C3%A9", "andre%CC%81", "ANDR%C3%89"] {
        try_password(&app, &client, spelling, &password).await.granted();
    }
    let tries = (0..12).map(|number| spellings[number % spellings.len()]);
    let mut statuses = Vec::new();
    for spelling in tries {
        statuses.push(try_password(&app, &client, spelling, "wrong").await.status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 400).count(), 10, "{statuses:?}");
}

async fn pw12_every_character_of_a_long_password_counts_and_a_password_that_is_too_long_is_not_hashed(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    for length in [64, 128, 1000, 1024] {
        let password: String = (0..length).map(|n| char::from(b'a' + (n * n % 23) as u8)).collect();
        let name = format!("user{length}");
        app.database.user(&name, &password, "orders:read");
        try_password(&app, &client, &name, &password).await.granted();
        let changed = format!("{}!", &password[..length - 1]);
        try_password(&app, &client, &name, &changed).await.refused(400, "invalid_grant");
        try_password(&app, &client, &name, &password[..length - 1]).await.refused(400, "invalid_grant");
    }
    let hashes = app.meters.password_hashes.get();
    try_password(&app, &client, "alice", &"x".repeat(1025)).await.refused(400, "invalid_request");
    assert_eq!(app.meters.password_hashes.get(), hashes);
    refused_for(app.database.try_user("long", &"xyz".repeat(400), BTreeMap::new()), "1 to 1,024 characters");
}

async fn pw13_pw14_a_password_is_refused_with_the_reason(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    for (number, good) in ["plumtrousergate", "a b c d e f g h i", "🦀🦊🐙🐢🦉🐝🦋🐌🐞🦗🦂🐍🦎🦖🦕"].iter().enumerate()
    {
        app.database.user(&format!("good{number}"), good, "orders:read");
    }
    let emoji = "🦀🦊🐙🐢🦉🐝🦋🐌🐞🦗🦂🐍🦎🦖🦕".bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    try_password(&app, &client, "good2", &emoji).await.granted();
    for (bad, reason) in [
        ("plumtrousergat", "14 characters, but at least 15 are required"),
        ("password12345678", "a common password"),
        ("sealwright-12345", "name of the user or of the service"),
        ("zxvzxvzxvzxvzxvzx", "repeats a short text"),
        ("bob.marley2026!!", "name of the user"),
        ("tab\there is too long", "control"),
        ("", "1 to 1,024 characters"),
    ] {
        refused_for(app.database.try_user("bob.marley", bad, BTreeMap::new()), reason);
    }
    for (bad, reason) in [("plumtrousergat", "14 characters"), ("Alice-1234567890", "common password"), ("", "1 to 1,024 characters")] {
        refused_for(app.database.set_password("alice", bad), reason);
    }
    // It is still valid three years later: passwords do not expire.
    app.pass(Duration::from_secs(3 * 365 * 24 * 3600)).await;
    try_password(&app, &client, "good0", "plumtrousergate").await.granted();
}

async fn pw16_a_password_is_hashed_by_argon2id_and_rehashed_when_parameters_are_raised(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    app.user("bob");
    let hashes = app.database.texts("SELECT password_hash FROM users ORDER BY username").await;
    for hash in &hashes {
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let salt = hash.split('$').nth(4).unwrap();
        assert_eq!(salt.len(), 22, "16 bytes in base64 without padding: {salt}");
    }
    assert_ne!(hashes[0], hashes[1], "the same password, another salt");

    let app = TestApp::start_with(app.stop().await, &[("password_memory_kib", "20480"), ("password_passes", "3")]).await;
    try_password(&app, &client, "alice", "wrong").await.refused(400, "invalid_grant");
    assert_eq!(app.database.texts("SELECT password_hash FROM users ORDER BY username").await, hashes);
    app.sign_in(&client).await.granted();
    let after = app.database.texts("SELECT password_hash FROM users ORDER BY username").await;
    assert!(after[0].starts_with("$argon2id$v=19$m=20480,t=3,p=1$"), "{after:?}");
    assert_eq!(after[1], hashes[1]);
    app.sign_in(&client).await.granted();
    assert_eq!(app.database.texts("SELECT password_hash FROM users ORDER BY username").await, after);
}

async fn a_sign_in_grants_the_scope_that_both_client_and_user_may_have(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let answer = app.sign_in(&client).await;
    let claims = answer.claims();
    assert_eq!(app.database.texts("SELECT sub FROM users").await, [claims["sub"].as_str().unwrap()]);
    assert_eq!((claims["client_id"].as_str(), claims["auth_time"].as_i64()), (Some("shop"), Some(app.now().seconds())));
    assert_eq!(answer.granted()["scope"], "orders:read orders:write");
    let signed_in_at = app.database.texts("SELECT CAST(signed_in_at AS TEXT) FROM users").await;
    assert_eq!(signed_in_at, [app.now().seconds().to_string()]);

    // A client without the refresh grant gets no refresh token.
    let short = app.database.client_with("short", |new| new.grants = [GrantType::Password].into());
    let body = app.sign_in(&short).await.granted();
    assert_eq!((body["scope"].as_str(), body.get("refresh_token")), (Some("orders:read"), None));
    app.token(&short, &format!("grant_type=password&{SIGN_IN}&scope=orders:write")).await.refused(400, "invalid_scope");

    // Scope tokens that the user does not have are dropped; an empty rest is refused.
    app.database.user("reader", PASSWORD, "orders:read");
    let password = PASSWORD.replace(' ', "+");
    let asked = |scope: &str| format!("grant_type=password&username=reader&password={password}{scope}");
    for scope in ["", "&scope=orders:read+orders:write", "&resource=https://orders.example"] {
        let answer = app.token(&client, &asked(scope)).await;
        assert_eq!(answer.granted()["scope"], "orders:read");
        assert_eq!(answer.claims()["scope"], "orders:read");
    }
    app.token(&client, &asked("&scope=orders:write")).await.refused(400, "invalid_scope");
    app.database.try_user("nothing", PASSWORD, BTreeMap::new()).unwrap();
    try_password(&app, &client, "nothing", &password).await.refused(400, "invalid_scope");
}

async fn ten_failures_are_free_and_then_one_every_ten_seconds(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let other = app.app_for_users("other");
    for _ in 0..10 {
        try_password(&app, &client, "alice", "wrong").await.refused(400, "invalid_grant");
    }
    let hashes = app.meters.password_hashes.get();
    let limited = app.sign_in(&client).await;
    limited.refused(429, "temporarily_unavailable");
    assert_eq!(limited.header("retry-after"), Some("10"));
    assert_eq!(app.meters.password_hashes.get(), hashes, "before any hashing");
    // Alice can sign in with another app, and other users with this one.
    app.sign_in(&other).await.granted();
    app.user("bob");
    try_password(&app, &client, "bob", &PASSWORD.replace(' ', "+")).await.granted();
    app.pass(Duration::from_secs(10)).await;
    app.sign_in(&client).await.granted();
}

async fn faults_of_the_server_do_not_count_as_failed_attempts(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    app.database.execute("ALTER TABLE users RENAME TO users_gone").await;
    for _ in 0..15 {
        app.sign_in(&client).await.refused(503, "temporarily_unavailable");
    }
    app.database.execute("ALTER TABLE users_gone RENAME TO users").await;
    for _ in 0..9 {
        try_password(&app, &client, "alice", "wrong").await.refused(400, "invalid_grant");
    }
    app.sign_in(&client).await.granted();
}

async fn many_users_can_sign_in_at_once_after_parameters_were_raised(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let app = TestApp::start_with(app.stop().await, &[("password_passes", "3"), ("password_threads", "2")]).await;
    let answers = crate::revocation::join_all((0..8).map(|_| app.sign_in(&client))).await;
    for answer in answers {
        answer.granted();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pw18_five_hundred_concurrent_sign_ins_use_the_memory_of_the_pool_and_do_not_delay_clients() {
    let database = TestDatabase::create(Backend::Sqlite).await;
    let mut command = command_on(&database);
    // Each attempt uses its own connection.
    command.args(["serve", "--listen", "127.0.0.1:0", "--connections-per-source", "1024"]);
    let mut server = Process::spawn(command);
    let url = format!("http://{}/oauth/token", server.addr().await);
    let secret = furnish(&database);
    let http = reqwest::Client::new();
    let post = |body: String| {
        let request =
            http.post(&url).basic_auth("shop", Some(&secret)).header("content-type", "application/x-www-form-urlencoded").body(body);
        async move { request.send().await.unwrap() }
    };
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(post("grant_type=client_credentials".to_owned()).await.status(), 200);
    let before = memory();
    let mut attempts = tokio::task::JoinSet::new();
    for number in 0..500 {
        attempts.spawn(post(format!("grant_type=password&username=user{number}&password=wrong")));
    }
    for _ in 0..20 {
        assert_eq!(post("grant_type=client_credentials".to_owned()).await.status(), 200);
    }
    let mut counts = BTreeMap::new();
    while let Some(answer) = attempts.join_next().await {
        let answer = answer.unwrap();
        assert!(answer.status() != 503 || answer.headers().contains_key("retry-after"));
        *counts.entry(answer.status().as_u16()).or_insert(0) += 1;
    }
    assert_eq!(counts.values().sum::<i32>(), 500);
    // All come from one source, so attempts are refused after a hundred failures, also when the queue has room.
    assert!(counts.keys().all(|status| [400, 429, 503].contains(status)), "{counts:?}");
    assert!(counts[&400] >= 65, "those that ran and those that could wait: {counts:?}");
    let permits = (std::thread::available_parallelism().unwrap().get() as u64 / 2).max(1);
    // 500 connections have buffers too; 500 hashes at once would need 9.5 GB.
    let allowed = permits * 19_456 + 48 * 1024;
    assert!(memory() - before <= allowed, "{} kB for {permits} permits", memory() - before);
}
