//! Limits on guessing passwords, and users who sign in during an attack.

use std::{cell::Cell, time::Duration};

use sealwright::clock::Clock;

use crate::{
    revocation::join_all,
    support::{Answer, Backend, Credential, SIGN_IN, TestApp, TestDatabase, on_both_databases},
};

on_both_databases![
    hd5_guessing_strangers_do_not_lock_a_user_out_at_a_known_source,
    hd5_a_source_is_known_on_every_node_and_after_a_restart_and_forgotten_in_time,
    hd5_pw5_a_known_source_has_no_more_guesses_than_any_other,
    hd5_ten_sources_are_kept_and_no_address_is_in_the_database,
    hd5_a_malformed_user_address_is_refused,
    hd6_pw9_guesses_over_many_names_are_limited_by_source_and_by_client,
    hd5_hd6_a_user_at_a_known_source_gets_in_while_strangers_keep_the_queue_full,
    hd6_pw9_a_source_that_guesses_is_limited_for_the_users_known_there_as_for_all_others,
    op12_sixteen_right_sign_ins_of_one_user_at_once_all_get_in,
    pw5_of_two_hundred_wrong_passwords_at_once_ten_are_verified,
    hd11_a_limited_user_waits_no_longer_when_the_clock_is_set_back,
];

const HOME: &str = "198.51.100.7";

impl TestApp {
    /// Alice signs in, and the app sends her address.
    async fn sign_in_at(&self, client: &Credential, address: &str) -> Answer {
        self.token(client, &format!("grant_type=password&{SIGN_IN}&user_address={address}")).await
    }

    /// A sign-in with a wrong password.
    async fn guess_at(&self, client: &Credential, name: &str, address: &str) -> Answer {
        self.token(client, &format!("grant_type=password&username={name}&password=wrong&user_address={address}")).await
    }

    /// Strangers guess from many addresses until the name is limited.
    async fn attack(&self, client: &Credential) {
        for stranger in 0.. {
            if self.guess_at(client, "alice", &format!("203.0.113.{stranger}")).await.status == 429 {
                return;
            }
        }
    }
}

async fn hd5_guessing_strangers_do_not_lock_a_user_out_at_a_known_source(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    app.sign_in_at(&client, HOME).await.granted();
    app.attack(&client).await;
    for _ in 0..3 {
        app.sign_in_at(&client, HOME).await.granted();
        // The attacker stays limited, whatever the user does.
        app.guess_at(&client, "alice", "203.0.113.1").await.refused(429, "temporarily_unavailable");
        app.sign_in_at(&client, "203.0.113.1").await.refused(429, "temporarily_unavailable");
    }
    // She may mistype as often as anybody, and no more.
    for _ in 0..10 {
        app.guess_at(&client, "alice", HOME).await.refused(400, "invalid_grant");
    }
    let limited = app.sign_in_at(&client, HOME).await;
    limited.refused(429, "temporarily_unavailable");
    assert_eq!(limited.header("retry-after"), Some("10"));
    app.pass(Duration::from_secs(10)).await;
    app.attack(&client).await;
    app.sign_in_at(&client, HOME).await.granted();
    // In IPv6 the network counts, not the address.
    app.pass(Duration::from_secs(100)).await;
    app.sign_in_at(&client, "2001:db8:1:2:3::4").await.granted();
    app.attack(&client).await;
    app.sign_in_at(&client, "2001:db8:1:2:ffff::1").await.granted();
    app.sign_in_at(&client, "2001:db8:1:3::4").await.refused(429, "temporarily_unavailable");
}

async fn hd5_a_source_is_known_on_every_node_and_after_a_restart_and_forgotten_in_time(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    app.sign_in_at(&client, HOME).await.granted();
    let second = app.second_node().await;
    second.attack(&client).await;
    second.sign_in_at(&client, HOME).await.granted();
    second.sign_in_at(&client, "198.51.100.8").await.refused(429, "temporarily_unavailable");
    drop(second.stop().await);
    let app = TestApp::start_with(app.stop().await, &[]).await;
    app.attack(&client).await;
    app.sign_in_at(&client, HOME).await.granted();

    // By another client she was never there.
    let other = app.app_for_users("other");
    app.attack(&other).await;
    app.sign_in_at(&other, HOME).await.refused(429, "temporarily_unavailable");

    let count = "SELECT CAST(COUNT(*) AS TEXT) FROM sign_in_sources";
    assert_eq!(app.database.texts(count).await, ["1"]);
    app.pass(Duration::from_secs(91 * 24 * 3600)).await;
    for _ in 0..3000 {
        if app.database.texts(count).await == ["0"] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(app.database.texts(count).await, ["0"], "nobody came from there for 90 days");

    // And with the user, and with the client.
    app.sign_in_at(&client, HOME).await.granted();
    app.sign_in_at(&other, HOME).await.granted();
    app.run(&["client", "delete", "other", "--yes"]).succeeded();
    assert_eq!(app.database.texts(count).await, ["1"]);
    app.run(&["user", "delete", "alice", "--yes"]).succeeded();
    assert_eq!(app.database.texts(count).await, ["0"]);
}

async fn hd5_pw5_a_known_source_has_no_more_guesses_than_any_other(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    app.sign_in_at(&client, HOME).await.granted();
    let hashes = app.meters.password_hashes.get();
    let answers = join_all((0..200).map(|_| app.guess_at(&client, "alice", HOME))).await;
    assert_eq!(app.meters.password_hashes.get() - hashes, 10);
    assert_eq!(answers.iter().filter(|answer| answer.status == 400).count(), 10);
}

async fn hd5_ten_sources_are_kept_and_no_address_is_in_the_database(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    for number in 0..12 {
        app.sign_in_at(&client, &format!("198.51.100.{number}")).await.granted();
        app.pass(Duration::from_secs(1)).await;
    }
    app.attack(&client).await;
    for (number, known) in [(0, false), (1, false), (2, true), (11, true)] {
        let status = app.sign_in_at(&client, &format!("198.51.100.{number}")).await.status;
        assert_eq!(status, if known { 200 } else { 429 }, "{number}");
    }
    let marks = app.database.texts("SELECT mac FROM sign_in_sources").await;
    assert_eq!(marks.len(), 10);
    assert!(marks.iter().all(|mark| mark.len() == 43 && !mark.contains("198.51")), "{marks:?}");
}

async fn hd5_a_malformed_user_address_is_refused(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    for malformed in ["localhost", "198.51.100.7:80", "%5B2001:db8::1%5D", "198.51.100", "198.51.100.7,10.0.0.1", "2001:db8::/64", "x"] {
        app.sign_in_at(&client, malformed).await.refused(400, "invalid_request");
    }
    assert_eq!(app.meters.password_hashes.get(), 0);
    // Absent, it is where the request comes from.
    app.sign_in_at(&client, "").await.granted();
    // Whoever is not a client gets no further than before.
    let stranger = Credential { secret: "wrong".to_owned(), ..client };
    app.sign_in_at(&stranger, "x").await.refused(401, "invalid_client");
}

async fn hd6_pw9_a_source_that_guesses_is_limited_for_the_users_known_there_as_for_all_others(backend: Backend) {
    let limits = [("failed_attempts_per_source", "20")];
    let app = TestApp::start_with(TestDatabase::create(backend).await, &limits).await.with_orders();
    let client = app.app_for_users("shop");
    app.user("alice");
    app.user("bob");
    app.sign_in_at(&client, HOME).await.granted();
    for guess in 0..20 {
        app.guess_at(&client, &format!("user{guess}"), HOME).await.refused(400, "invalid_grant");
    }
    // Alice has signed in from there and bob has not; carol does not exist.
    for name in ["alice", "bob", "carol"] {
        app.guess_at(&client, name, HOME).await.refused(429, "temporarily_unavailable");
    }
}

async fn hd6_pw9_guesses_over_many_names_are_limited_by_source_and_by_client(backend: Backend) {
    let limits = [("failed_attempts_per_source", "20"), ("failed_attempts_per_client", "30")];
    let app = TestApp::start_with(TestDatabase::create(backend).await, &limits).await.with_orders();
    let (client, other) = (app.app_for_users("shop"), app.app_for_users("other"));
    app.user("alice");
    app.sign_in_at(&client, HOME).await.granted();
    let spray = async |address: &str| {
        for guesses in 0.. {
            let answer = app.guess_at(&client, &format!("user{guesses}-{address}"), address).await;
            if answer.status == 429 {
                return (guesses, answer.header("retry-after").unwrap().to_owned());
            }
        }
        unreachable!()
    };
    // 20 of a source and 30 of the client are forgotten in the 100 s of a name, so one of them in 5 s and in 3.4 s.
    assert_eq!(spray("203.0.113.1").await, (20, "5".to_owned()));
    assert_eq!(spray("203.0.113.2").await, (10, "4".to_owned()));
    assert_eq!(spray("203.0.113.3").await.0, 0);
    app.sign_in_at(&client, HOME).await.granted();
    app.sign_in_at(&other, "203.0.113.1").await.granted();
    let metrics = app.metrics().await;
    for kind in ["password_source", "password_client"] {
        let line = format!("sealwright_attempts_limited_total{{kind=\"{kind}\"}} ");
        let count = metrics.lines().find_map(|metric| metric.strip_prefix(&line)).unwrap();
        assert!(count.parse::<u32>().unwrap() > 0, "{kind}");
    }
    app.pass(Duration::from_secs(100)).await;
    assert_eq!(spray("203.0.113.1").await.0, 20);

    // A right password forgives nothing that was failed for other names.
    app.user("mallory");
    app.pass(Duration::from_secs(100)).await;
    let mut guesses = 0;
    while app.guess_at(&client, &format!("name{guesses}"), "203.0.113.9").await.status == 400 {
        guesses += 1;
        if guesses % 5 == 0 {
            let own = SIGN_IN.replace("alice", "mallory");
            app.token(&client, &format!("grant_type=password&{own}&user_address=203.0.113.9")).await;
        }
    }
    assert_eq!(guesses, 20);
}

async fn hd5_hd6_a_user_at_a_known_source_gets_in_while_strangers_keep_the_queue_full(backend: Backend) {
    let settings = [("password_threads", "1"), ("password_queue", "4")];
    let app = TestApp::start_with(TestDatabase::create(backend).await, &settings).await.with_orders();
    let client = app.app_for_users("shop");
    app.user("alice");
    app.sign_in_at(&client, HOME).await.granted();
    let (done, guesses, refused) = (Cell::new(false), Cell::new(0), Cell::new(0));
    let stranger = async |address: &str| loop {
        guesses.set(guesses.get() + 1);
        let answer = app.guess_at(&client, &format!("user{}", guesses.get()), address).await;
        refused.set(refused.get() + u32::from(answer.status == 503));
        if done.get() {
            return answer;
        }
    };
    let addresses: Vec<String> = (0..40).map(|number| format!("203.0.113.{number}")).collect();
    let alice = async {
        while refused.get() < 20 {
            tokio::task::yield_now().await;
        }
        for _ in 0..5 {
            app.sign_in_at(&client, HOME).await.granted();
        }
        done.set(true);
    };
    tokio::join!(join_all(addresses.iter().map(|address| stranger(address))), alice);
}

async fn op12_sixteen_right_sign_ins_of_one_user_at_once_all_get_in(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    for _ in 0..2 {
        let answers = join_all((0..16).map(|_| app.sign_in(&client))).await;
        for answer in answers {
            answer.granted();
        }
    }
    assert!(!app.metrics().await.lines().any(|line| line.starts_with("sealwright_attempts_limited_total") && !line.ends_with(" 0")));
}

async fn pw5_of_two_hundred_wrong_passwords_at_once_ten_are_verified(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let strangers: Vec<String> = (0..200).map(|number| format!("203.0.113.{number}")).collect();
    let answers = join_all(strangers.iter().map(|address| app.guess_at(&client, "alice", address))).await;
    assert_eq!(app.meters.password_hashes.get(), 10);
    let limited: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert_eq!((limited.len(), answers.iter().filter(|answer| answer.status == 400).count()), (190, 10));
    assert!(limited.iter().all(|answer| answer.header("retry-after") == Some("10")));
}

async fn hd11_a_limited_user_waits_no_longer_when_the_clock_is_set_back(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    app.pass(Duration::from_secs(2 * 3600)).await;
    app.attack(&client).await;
    let steady = app.clock.steady();
    app.clock.set_back(Duration::from_secs(3600));
    let limited = app.sign_in_at(&client, HOME).await;
    limited.refused(429, "temporarily_unavailable");
    assert_eq!(limited.header("retry-after"), Some("10"));
    app.pass(Duration::from_secs(10)).await;
    assert_eq!(app.clock.steady(), steady + Duration::from_secs(10));
    app.sign_in_at(&client, HOME).await.granted();
}
