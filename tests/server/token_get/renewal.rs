//! When a new token is requested, and what happens when there is none.

use std::{
    fs::{self, File},
    time::Duration,
};

use super::{World, run, token_of};
use crate::support::{Backend, Behaviour, Finished, ORDERS, claims_of, on_sqlite};

on_sqlite![
    a_token_is_renewed_at_four_fifths_of_its_life,
    a_good_token_is_not_replaced_with_an_error,
    a_token_that_has_expired_or_is_from_the_future_is_not_printed,
    a_script_with_a_valid_token_does_not_wait_for_another_one,
    a_token_that_an_api_refused_is_replaced_on_request,
    an_issuer_that_cannot_answer_is_asked_again_after_the_pause_that_it_asks_for,
    a_login_is_refreshed_and_begins_again_only_when_it_has_ended,
    a_refresh_whose_answer_was_lost_is_repeated_only_while_the_issuer_repeats_its_answer,
    a_refresh_that_cannot_be_noted_is_not_sent,
    a_command_that_gets_no_token_says_whose_fault_it_is,
];

async fn a_token_is_renewed_at_four_fifths_of_its_life(backend: Backend) {
    let world = World::begin(backend).await;
    let first = world.token(&[]);
    world.age(400);
    assert_eq!(world.token(&[]), first);
    world.age(80);
    let second = world.token(&[]);
    assert_ne!(second, first);
    assert_eq!((world.token(&[]), world.relay.token_requests()), (second, 2));
}

fn answers(status: u16, body: &str) -> Behaviour {
    Behaviour::Answers(status, vec![("content-type", "application/json".into())], body.into())
}

/// The token that it prints, with a warning of the cause.
#[track_caller]
fn warned(finished: Finished, cause: &str) -> String {
    let Finished { stdout, stderr, .. } = finished.succeeded();
    assert!(stderr.starts_with("warning: the token is from the cache and expires in ") && stderr.contains(cause), "{stderr}");
    assert!(!stderr.contains("eyJ") && !stderr.contains("sw_"), "{stderr}");
    stdout.trim_end().to_owned()
}

async fn a_good_token_is_not_replaced_with_an_error(backend: Backend) {
    let world = World::begin(backend).await;
    let token = world.token(&[]);
    world.age(481);
    world.relay.goes_down();
    assert_eq!(warned(world.get(&[]), "the issuer cannot be reached"), token);
    assert_eq!(warned(world.get(&["--header"]), "the issuer cannot be reached"), format!("Authorization: Bearer {token}"));
    world.relay.comes_back();
    for (answer, cause) in [
        (answers(503, "{}"), "the issuer cannot answer now"),
        (answers(401, r#"{"error":"invalid_client"}"#), "does not accept this client with this secret"),
        (answers(200, r#"{"access_token":"a b","token_type":"Bearer"}"#), "does not answer as an issuer"),
    ] {
        world.relay.token(answer);
        world.end_pauses();
        assert_eq!(warned(world.get(&[]), cause), token);
    }
    world.relay.comes_back();
    world.end_pauses();
    assert_ne!(world.token(&[]), token);
}

async fn a_token_that_has_expired_or_is_from_the_future_is_not_printed(backend: Backend) {
    let world = World::begin(backend).await;
    for seconds in [600, 100_000, -3600] {
        let token = world.token(&[]);
        world.age(seconds);
        world.relay.goes_down();
        let failed = world.get(&[]).failed_saying(&["no token", "the issuer cannot be reached"]);
        assert_eq!(failed.stdout, "");
        world.relay.comes_back();
        world.end_pauses();
        let other = world.token(&[]);
        assert_ne!(other, token);
        assert_eq!(world.token(&[]), other);
    }
}

async fn a_script_with_a_valid_token_does_not_wait_for_another_one(backend: Backend) {
    let world = World::begin(backend).await;
    let token = world.token(&[]);
    // As another script that requests this token, and is stopped.
    let locks = world.files(".lock");
    let [lock] = &locks[..] else { panic!("{locks:?}") };
    let lock = File::options().write(true).open(lock).unwrap();
    lock.lock().unwrap();
    assert_eq!(world.token(&[]), token);
    world.age(481);
    assert_eq!(world.token(&[]), token);
    assert_eq!(world.relay.token_requests(), 1);
    drop(lock);
    assert_ne!(world.token(&[]), token);
}

async fn a_token_that_an_api_refused_is_replaced_on_request(backend: Backend) {
    let world = World::begin(backend).await;
    let refused = world.token(&[]);
    let renewed = world.token(&["--renew"]);
    assert_ne!(renewed, refused);
    assert_eq!((world.token(&[]), world.relay.token_requests()), (renewed.clone(), 2));
    world.relay.goes_down();
    let failed = world.get(&["--renew"]).failed_saying(&["no token", "the issuer cannot be reached"]);
    assert_eq!(failed.stdout, "", "the refused token is of no use");
    assert_eq!(world.token(&[]), renewed, "an API that accepts it still may");
}

async fn an_issuer_that_cannot_answer_is_asked_again_after_the_pause_that_it_asks_for(backend: Backend) {
    let world = World::begin(backend).await;
    world.relay.token(Behaviour::Answers(503, vec![("retry-after", "3600".into())], Vec::new()));
    world.get(&[]).failed_saying(&["no token", "the issuer cannot answer now"]);
    world.relay.comes_back();
    world.get(&[]).failed_saying(&["no token", "the issuer cannot answer now", "the next attempt is due in"]);
    assert_eq!(world.relay.token_requests(), 1);
    world.age(3601);
    world.token(&[]);
    assert_eq!(world.relay.token_requests(), 2);
}

const ALICE: [&str; 2] = ["--username", "alice"];

impl World {
    /// The number of token requests with this grant.
    fn sent(&self, grant: &str) -> usize {
        self.relay.forms().iter().filter(|form| form.contains(&format!("grant_type={grant}"))).count()
    }
}

async fn a_refresh_whose_answer_was_lost_is_repeated_only_while_the_issuer_repeats_its_answer(backend: Backend) {
    let world = World::begin(backend).await;
    world.token(&ALICE);
    let loses_an_answer = || {
        world.age(481);
        world.relay.token(Behaviour::LosesAnswers);
        warned(world.get(&ALICE), "the issuer cannot be reached");
        world.relay.comes_back();
        world.end_pauses();
    };
    loses_an_answer();
    world.token(&ALICE);
    let forms = world.relay.forms();
    assert_eq!((forms.len(), &forms[1]), (3, &forms[2]), "the same refresh token again");

    loses_an_answer();
    world.age(31);
    world.app.pass(Duration::from_secs(31)).await;
    world.token(&ALICE);
    assert_eq!((world.sent("password"), world.sent("refresh_token")), (2, 3), "a new login");
    let logins = world.app.run_json(&["login", "list"]);
    let logins = logins.as_array().unwrap();
    assert!(logins.len() == 2 && logins.iter().all(|login| login["end_reason"].is_null()), "no theft is suspected: {logins:?}");
}

async fn a_refresh_that_cannot_be_noted_is_not_sent(backend: Backend) {
    const MAX_LEN: usize = 64 * 1024;
    let world = World::begin(backend).await;
    let token = world.token(&ALICE);
    // It can be read, and not be written with one more time in it.
    let stored = world.stored();
    let text = fs::read_to_string(&stored).unwrap();
    let mut entry: serde_json::Value = serde_json::from_str(&text).unwrap();
    let scope = entry["token"]["scope"].as_str().unwrap().to_owned();
    entry["token"]["scope"] = (scope + &"x".repeat(MAX_LEN - text.len())).into();
    fs::write(&stored, entry.to_string()).unwrap();
    assert_eq!(world.token(&ALICE), token);
    world.age(481);
    assert_eq!(warned(world.get(&ALICE), "would be longer than 64 KiB"), token);
    world.age(600);
    world.get(&ALICE).failed_saying(&["no token", "the cache cannot be used", "would be longer than 64 KiB", "--no-cache"]);
    assert_eq!((world.sent("password"), world.sent("refresh_token")), (1, 0));
}

async fn a_login_is_refreshed_and_begins_again_only_when_it_has_ended(backend: Backend) {
    let world = World::begin(backend).await;
    let first = world.token(&ALICE);
    assert_eq!(claims_of(&first)["client_id"], "shop");
    assert_ne!(claims_of(&first)["sub"], "shop");
    world.age(481);
    let second = world.token(&ALICE);
    assert_ne!(second, first);
    // The login outlives its access token.
    world.age(100_000);
    world.token(&ALICE);
    assert_eq!((world.sent("password"), world.sent("refresh_token")), (1, 2));
    let logins = world.app.run_json(&["login", "list"]);
    assert_eq!(logins.as_array().unwrap().len(), 1, "{logins}");

    world.app.run(&["login", "end", "--user", "alice"]).succeeded();
    world.app.settle().await;
    world.age(481);
    world.token(&ALICE);
    assert_eq!((world.sent("password"), world.sent("refresh_token")), (2, 3));
}

async fn a_command_that_gets_no_token_says_whose_fault_it_is(backend: Backend) {
    let world = World::begin(backend).await;
    world.get(&["--scope", "orders:cancel"]).failed_saying(&["no token", "the issuer refuses the request (invalid_scope"]);
    world.get(&["--scope", "orders:read orders:write"]).failed_saying(&["invalid scope token"]);
    let request = |issuer: &str, client: &str, resource: &str| {
        let mut command = world.bare();
        command.args(["--issuer", issuer, "--client", client, "--resource", resource]);
        command.env("SEALWRIGHT_CLIENT_SECRET", &world.shop.secret);
        run(command)
    };
    let issuer = world.relay.url.as_str();
    request(issuer, "unknown", ORDERS).failed_saying(&["no token", "whether the client of --client exists"]);
    request(issuer, "shop", "https://stock.example").failed_saying(&["no token", "invalid_target"]);
    request(issuer, "shop", "orders").failed_saying(&["no token", "invalid_target"]);
    request(issuer, "shop", "orders#1").failed_saying(&["invalid resource"]);
    request("http://auth.example", "shop", ORDERS).failed_saying(&["invalid issuer", "https://"]);
    request(&format!("{issuer}/other"), "shop", ORDERS).failed_saying(&["no token", "does not answer as an issuer"]);
    let mut command = world.bare();
    command.args(["--client", "shop"]);
    run(command).failed_saying(&["the issuer is missing", "--issuer", "SEALWRIGHT_ISSUER"]);

    // The server's configuration and database are not read.
    fs::write(world.runtime.path().join("sealwright.toml"), "no such setting").unwrap();
    let mut command = world.command(&[]);
    command.env("SEALWRIGHT_DATABASE_URL", "sqlite:///nowhere/at/all").env("SEALWRIGHT_LISTNE", "x");
    token_of(run(command));
}
