//! When a token is fetched, and when it is not.

use sealwright::client::{Client, Error, Party, Secret};

use super::{World, text};
use crate::support::{Backend, Behaviour, claims_of, on_sqlite, wait_until};

on_sqlite![
    a_thousand_callers_share_one_fetch,
    a_token_in_use_is_refreshed_ahead_and_no_caller_waits,
    an_unused_token_is_left_to_expire,
    tokens_of_five_seconds_cost_no_fetch_per_call,
    while_the_issuer_is_down_no_caller_notices_until_the_token_ends,
    a_client_starts_while_the_issuer_is_down,
    what_a_client_asks_for_is_what_it_gets,
    a_secret_that_is_replaced_on_disk_is_used_from_then_on,
    a_secret_that_is_refused_is_tried_again_a_minute_later,
    a_token_that_is_given_up_is_replaced_but_not_at_each_call,
    fetching_ends_with_the_last_handle,
];

async fn a_thousand_callers_share_one_fetch(backend: Backend) {
    let world = World::begin(backend).await;
    let source = world.source();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let source = source.clone();
        callers.spawn(async move { text(&source).await });
    }
    let tokens: std::collections::HashSet<String> = callers.join_all().await.into_iter().collect();
    assert_eq!((tokens.len(), world.relay.token_requests(), world.relay.metadata_requests()), (1, 1, 1));
    let claims = claims_of(tokens.iter().next().unwrap());
    assert_eq!((&claims["sub"], &claims["aud"]), (&"shop".into(), &"https://orders.example".into()));
}

async fn a_token_in_use_is_refreshed_ahead_and_no_caller_waits(backend: Backend) {
    let world = World::begin(backend).await;
    let source = world.source();
    let first = text(&source).await;
    world.pass(430).await;
    assert_eq!((text(&source).await, world.relay.token_requests()), (first.clone(), 1), "three quarters of its life are not over");
    world.pass(50).await;
    // Nobody asked: it was used, so the next is on its way.
    world.asked(2).await;
    world.quiet(&source).await;
    let second = text(&source).await;
    assert_ne!(second, first);

    // The issuer takes its time: whoever comes meanwhile goes on with the one at hand.
    world.relay.token(Behaviour::Silent);
    world.pass(480).await;
    world.asked(3).await;
    for _ in 0..100 {
        assert_eq!(text(&source).await, second);
    }
    assert_eq!(world.relay.token_requests(), 3);
}

async fn an_unused_token_is_left_to_expire(backend: Backend) {
    let world = World::begin(backend).await;
    let source = world.source();
    let first = text(&source).await;
    world.pass(480).await;
    world.asked(2).await;
    world.quiet(&source).await;
    // The second was never used.
    for _ in 0..10 {
        world.pass(100).await;
    }
    assert_eq!(world.relay.token_requests(), 2);
    assert_eq!(source.status().expires_in, None);
    assert_ne!(text(&source).await, first);
    assert_eq!(world.relay.token_requests(), 3);
}

async fn tokens_of_five_seconds_cost_no_fetch_per_call(backend: Backend) {
    let world = World::begin(backend).await;
    // Sealwright's own live for a minute at least; other issuers' do not. Each says when it ends.
    let issue_at = |second: i32| {
        let answer = format!(r#"{{"access_token":"{}","token_type":"Bearer","expires_in":5}}"#, second + 5);
        world.relay.token(Behaviour::Answers(200, vec![("content-type", "application/json".to_owned())], answer.into_bytes()));
    };
    issue_at(0);
    let source = world.source();
    for second in 0..20 {
        for _ in 0..50 {
            let ends: i32 = text(&source).await.parse().unwrap();
            assert!(ends > second, "a token is good while it is used, and this one ended at {ends} s of {second}");
        }
        world.quiet(&source).await;
        issue_at(second + 1);
        world.pass(1).await;
    }
    let fetches = world.relay.token_requests();
    assert!((4..=7).contains(&fetches), "one in about four seconds: {fetches} in 20 s of 1,000 calls");
}

async fn while_the_issuer_is_down_no_caller_notices_until_the_token_ends(backend: Backend) {
    let world = World::begin(backend).await;
    let source = world.source();
    let first = text(&source).await;
    world.relay.goes_down();
    // 600 s less the margin of 30.
    for _ in 0..56 {
        world.pass(10).await;
        assert_eq!(text(&source).await, first, "an attempt that fails never takes a good token away");
    }
    world.quiet(&source).await;
    let attempts = source.status().failures;
    assert!((2..=40).contains(&attempts), "pauses grow: {attempts} attempts in 120 s");
    world.pass(15).await;
    world.quiet(&source).await;
    let error = source.token().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert_eq!(error.party(), Party::Network);
    let wait = error.retry_after().unwrap().as_secs();
    assert!((1..=30).contains(&wait), "{wait}");

    // Until then nobody is asked, and nobody waits.
    let asked = world.relay.metadata_requests() + world.relay.token_requests();
    for _ in 0..100 {
        assert!(source.token().await.is_err());
    }
    assert_eq!(world.relay.metadata_requests() + world.relay.token_requests(), asked);
    world.relay.comes_back();
    world.pass(wait).await;
    assert_ne!(text(&source).await, first);
    assert!(source.status().last_error.is_none());
}

async fn a_client_starts_while_the_issuer_is_down(backend: Backend) {
    let world = World::begin(backend).await;
    world.relay.goes_down();
    let source = world.source();
    let error = source.token().await.unwrap_err();
    let wait = error.retry_after().unwrap();
    world.relay.comes_back();
    world.pass(wait.as_secs()).await;
    text(&source).await;
    let status = source.status();
    assert_eq!((status.fetches, status.failures), (2, 1));
    assert_eq!((status.expires_in.unwrap().as_secs(), status.scope.as_deref()), (570, Some("orders:read orders:write")));
}

async fn what_a_client_asks_for_is_what_it_gets(backend: Backend) {
    let world = World::begin(backend).await;
    let source = world.shop().scopes(["orders:read"]).token_source().unwrap();
    assert_eq!(claims_of(&text(&source).await)["scope"], "orders:read");
    assert_eq!(world.relay.forms(), ["grant_type=client_credentials&scope=orders%3Aread&resource=https%3A%2F%2Forders.example"]);
    let header = source.token().await.unwrap().header();
    assert!(header.is_sensitive() && header.to_str().unwrap().starts_with("Bearer eyJ"));
    let beyond = world.shop().scopes(["orders:delete"]).token_source().unwrap();
    let error = beyond.token().await.unwrap_err();
    assert!(matches!(&error, Error::Refused { code, .. } if code == "invalid_scope"), "{error}");
    assert_eq!(error.party(), Party::Issuer);
}

async fn a_secret_that_is_replaced_on_disk_is_used_from_then_on(backend: Backend) {
    let world = World::begin(backend).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{}\n", world.shop.secret)).unwrap();
    let source = world.with_secret(Secret::file(file.path())).token_source().unwrap();
    text(&source).await;

    let shown = world.app.run_json(&["client", "show", "shop"]);
    let old = shown["secrets"][0]["id"].as_str().unwrap().to_owned();
    let added = world.app.run_json(&["client", "add-secret", "shop"]);
    let new = added["secret"]["value"].as_str().unwrap_or_else(|| panic!("{added}"));
    std::fs::write(file.path(), new).unwrap();
    world.app.run(&["client", "drop-secret", "shop", &old, "--yes"]).succeeded();
    world.pass(480).await;
    world.asked(2).await;
    world.quiet(&source).await;
    assert!(source.status().last_error.is_none(), "{:?}", source.status());
}

async fn a_secret_that_is_refused_is_tried_again_a_minute_later(backend: Backend) {
    let world = World::begin(backend).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "sw_wrong").unwrap();
    let source = world.with_secret(Secret::file(file.path())).token_source().unwrap();
    let error = source.token().await.unwrap_err();
    assert!(matches!(error, Error::WrongSecret), "{error}");
    std::fs::write(file.path(), &world.shop.secret).unwrap();
    for _ in 0..5 {
        world.pass(10).await;
        assert!(matches!(source.token().await, Err(Error::WrongSecret)));
    }
    assert_eq!(world.relay.token_requests(), 1, "who is refused does not press");
    world.pass(11).await;
    text(&source).await;

    // Whatever is no file of a secret's size is refused at once, and none of it is shown.
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let large = folder.path().join("large");
    std::fs::write(&large, "s".repeat(5000)).unwrap();
    let marked = folder.path().join("marked");
    std::fs::write(&marked, format!("\u{feff}{}", world.shop.secret)).unwrap();
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "\n").unwrap();
    for path in [pipe.as_path(), large.as_path(), marked.as_path(), empty.as_path(), folder.path()] {
        let error = world.with_secret(Secret::file(path)).token_source().unwrap().token().await.unwrap_err();
        let words = error.to_string();
        assert!(matches!(error, Error::Secret(_)) && !words.contains("ssss") && !words.contains("sw_"), "{words}");
    }
    let longest = folder.path().join("longest");
    std::fs::write(&longest, format!("{}\r\n", "s".repeat(4096))).unwrap();
    let error = world.with_secret(Secret::file(longest)).token_source().unwrap().token().await.unwrap_err();
    assert!(matches!(error, Error::WrongSecret), "{error}");

    std::fs::remove_file(file.path()).unwrap();
    let bare = world.with_secret(Secret::file(file.path())).token_source().unwrap();
    let error = bare.token().await.unwrap_err();
    assert!(matches!(&error, Error::Secret(why) if why.contains(file.path().to_str().unwrap())), "{error}");
    assert_eq!(error.party(), Party::App);
}

async fn a_token_that_is_given_up_is_replaced_but_not_at_each_call(backend: Backend) {
    let world = World::begin(backend).await;
    let source = world.source();
    let first = source.token().await.unwrap();
    assert!(!source.invalidate(&first), "it is not 10 s old");
    world.pass(10).await;
    assert!(source.invalidate(&first));
    assert_ne!(text(&source).await, first.as_str());
    assert!(!source.invalidate(&first), "there is another already");
    for _ in 0..100 {
        let token = source.token().await.unwrap();
        source.invalidate(&token);
    }
    assert_eq!(world.relay.token_requests(), 2);
}

async fn fetching_ends_with_the_last_handle(backend: Backend) {
    let world = World::begin(backend).await;
    let api: Client = world.shop().attach_to(["http://127.0.0.1:1"]).build().unwrap();
    let source = api.token_source();
    text(&source).await;
    drop(source);
    // The task sleeps until the token is to be replaced.
    wait_until(|| world.clock.sleepers() == 1).await;
    drop(api);
    wait_until(|| world.clock.sleepers() == 0).await;
    world.pass(500).await;
    assert_eq!(world.relay.token_requests(), 1);
}
