//! An issuer that is away, or that refuses the client: what the app learns, and when it works again.

use super::{Api, World, problem};
use crate::support::{AppKey, Backend, Behaviour, PASSWORD, claims_of, on_sqlite, wait_until, write_private};

on_sqlite![
    gd4_a_process_that_starts_while_the_issuer_is_away_becomes_ready_when_it_is_back,
    gd4_a_token_is_used_to_its_end_while_the_issuer_is_away_and_renewed_ahead_of_it_otherwise,
    gd4_an_issuer_that_says_when_to_come_back_is_quoted,
    gd4_a_refused_client_is_reported_as_such_and_a_replaced_secret_is_read,
    pk1_a_client_with_a_private_key_is_attached_and_its_replaced_key_is_read,
    gd4_a_wrong_password_is_for_the_operator_of_the_process_to_correct,
    gd4_an_origin_that_is_dead_or_silent_is_reported_as_such,
];

async fn gd4_a_process_that_starts_while_the_issuer_is_away_becomes_ready_when_it_is_back(backend: Backend) {
    let world = World::begin(backend).await;
    world.relay.goes_down();
    let api = Api::start().await;
    let attach = world.attach(&api.origin).await;
    wait_until(|| world.relay.metadata_requests() > 0).await;
    let (status, reasons) = attach.readiness(&world).await;
    assert!(status == 503 && reasons.contains("there is no token for route 1"), "{status} {reasons}");
    let live = world.get(format!("{}/health/live", attach.management)).send().await.unwrap();
    assert_eq!(live.status(), 200, "a restart would not help");

    let answer = world.get(&attach.url).send().await.unwrap();
    let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    let (status, problem) = problem(world.get(&attach.url)).await;
    assert_eq!((status, problem["reason"].as_str(), problem["party"].as_str()), (503, Some("issuer_unavailable"), Some("issuer")));
    assert!(problem["detail"].as_str().unwrap().contains("the issuer cannot be reached"), "{problem}");
    assert_eq!(api.seen().len(), 0, "nothing is sent without a token");

    world.relay.comes_back();
    world.becomes_ready(&attach).await;
    assert_eq!(world.get(&attach.url).send().await.unwrap().status(), 200);
    api.only().token();
}

async fn gd4_a_token_is_used_to_its_end_while_the_issuer_is_away_and_renewed_ahead_of_it_otherwise(backend: Backend) {
    let world = World::begin(backend).await;
    let api = Api::start().await;
    let attach = world.attach(&api.origin).await;
    world.get(&attach.url).send().await.unwrap();
    let first = api.only().token();
    // No request comes for most of its life, and the token is renewed nevertheless.
    let mut passed = 0;
    while world.relay.token_requests() == 1 {
        assert!(passed < 500, "it is renewed at four fifths of its 600 s");
        world.settles().await;
        world.pass(10).await;
        passed += 10;
    }
    assert!(passed > 400, "{passed}");
    world.settles().await;
    let second = world.other_token(&attach, &api, &first).await;

    world.relay.goes_down();
    let status = async || {
        world.settles().await;
        world.pass(10).await;
        world.get(&attach.url).send().await.unwrap().status().as_u16()
    };
    for _ in 0..50 {
        assert_eq!(status().await, 200);
        assert_eq!(api.only().token(), second, "a failed attempt replaces no good token");
    }
    assert_eq!(attach.readiness(&world).await.0, 200);
    let mut left = 0;
    while status().await == 200 {
        left += 1;
    }
    assert!(left <= 10, "it is not used after its end");
    assert_eq!(attach.readiness(&world).await.0, 503);
    world.relay.comes_back();
    world.becomes_ready(&attach).await;
}

async fn gd4_an_issuer_that_says_when_to_come_back_is_quoted(backend: Backend) {
    let world = World::begin(backend).await;
    world.relay.token(Behaviour::Answers(503, vec![("retry-after", "20".to_owned())], Vec::new()));
    let api = Api::start().await;
    let attach = world.attach(&api.origin).await;
    world.asked(1).await;
    world.settles().await;
    let answer = world.get(&attach.url).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (503, "20"));
    assert_eq!(world.relay.token_requests(), 1, "it is not asked again before");
}

async fn gd4_a_refused_client_is_reported_as_such_and_a_replaced_secret_is_read(backend: Backend) {
    let world = World::begin(backend).await;
    let api = Api::start().await;
    let secret_file = world.secret_file("replaced", "not-the-secret");
    let attach = world.attach_with(&[("to", &api.origin), ("secret_file", &secret_file)]).await;
    let (status, problem) = problem(world.get(&attach.url)).await;
    assert_eq!((status, problem["reason"].as_str(), problem["party"].as_str()), (502, Some("client_refused"), Some("issuer")), "{problem}");
    assert!(!problem.to_string().contains("not-the-secret"), "{problem}");
    let (_, reasons) = attach.readiness(&world).await;
    assert!(reasons.contains("the issuer does not accept this client with this secret"), "{reasons}");
    assert_eq!(api.seen().len(), 0);

    write_private(&secret_file, &world.shop.secret);
    world.becomes_ready(&attach).await;
    assert_eq!(world.get(&attach.url).send().await.unwrap().status(), 200);

    std::fs::remove_file(&secret_file).unwrap();
    let missing = world.attach_with(&[("to", &api.origin), ("secret_file", &secret_file)]).await;
    let (status, problem) = super::problem(world.get(&missing.url)).await;
    assert_eq!(
        (status, problem["reason"].as_str(), problem["party"].as_str()),
        (502, Some("client_misconfigured"), Some("attach")),
        "{problem}"
    );
}

async fn pk1_a_client_with_a_private_key_is_attached_and_its_replaced_key_is_read(backend: Backend) {
    let world = World::begin(backend).await;
    let api = Api::start().await;
    let (old, new) = (AppKey::new("ES256"), AppKey::new("Ed25519"));
    world.app.database.add_key("shop", old.public(), None);
    world.app.settle().await;
    let key_file = world.secret_file("key.pem", &old.private_pem());
    let attach = world.attach_with(&[("to", &api.origin), ("key_file", &key_file)]).await;
    assert_eq!(world.get(&attach.url).send().await.unwrap().status(), 200);
    // A route with another client.
    let other = format!("{} client=shop key-file={key_file}", api.origin);
    let routed = world.attach_with(&[("to", &other)]).await;
    assert_eq!(world.get(&routed.url).send().await.unwrap().status(), 200);

    write_private(&key_file, &new.private_pem());
    let replaced = world.attach_with(&[("to", &api.origin), ("key_file", &key_file)]).await;
    let (status, problem) = problem(world.get(&replaced.url)).await;
    assert_eq!((status, problem["reason"].as_str()), (502, Some("client_refused")), "{problem}");
    assert!(replaced.readiness(&world).await.1.contains("the issuer does not accept this client with this key"));
    world.app.database.add_key("shop", new.public(), None);
    // The issuer's time passes too: it refuses an assertion of the future.
    world.pass(61).await;
    world.becomes_ready(&replaced).await;
}

async fn gd4_a_wrong_password_is_for_the_operator_of_the_process_to_correct(backend: Backend) {
    let world = World::begin(backend).await;
    let api = Api::start().await;
    let password_file = world.secret_file("password", "not-her-password");
    let attach = world.attach_with(&[("to", &api.origin), ("username", "alice"), ("password_file", &password_file)]).await;
    let (status, problem) = problem(world.get(&attach.url)).await;
    assert_eq!((status, problem["reason"].as_str(), problem["party"].as_str()), (502, Some("client_misconfigured"), Some("attach")));
    assert!(problem["detail"].as_str().unwrap().contains("check the setting username") && !problem.to_string().contains("not-her"));
    assert!(attach.readiness(&world).await.1.contains("check the setting username"));

    write_private(&password_file, PASSWORD);
    world.becomes_ready(&attach).await;
    assert_eq!(world.get(&attach.url).send().await.unwrap().status(), 200);
    assert_ne!(claims_of(&api.only().token())["sub"], "shop", "it acts for alice");
}

async fn gd4_an_origin_that_is_dead_or_silent_is_reported_as_such(backend: Backend) {
    let world = World::begin(backend).await;
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", dead.local_addr().unwrap());
    let attach = world.attach_with(&[("to", &origin), ("answer_timeout", "100ms")]).await;
    let (status, problem) = problem(world.get(&attach.url)).await;
    assert_eq!(
        (status, problem["reason"].as_str(), problem["party"].as_str()),
        (504, Some("origin_too_slow"), Some("api")),
        "it is silent"
    );
    drop(dead);
    let (status, problem) = super::problem(world.get(&attach.url)).await;
    assert_eq!(
        (status, problem["reason"].as_str(), problem["party"].as_str()),
        (502, Some("origin_unreachable"), Some("api")),
        "it is dead"
    );
}
