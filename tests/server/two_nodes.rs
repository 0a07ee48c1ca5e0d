//! What holds on every node: two servers in this process over one database, and servers that are killed.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    revocation::join_all,
    support::{Answer, Backend, Credential, Process, SIGN_IN, TestApp, TestDatabase, furnish, on_both_databases},
};

on_both_databases![
    rt3_fifty_refreshes_at_once_on_one_node_and_on_two_get_one_live_successor,
    ca6_wrong_secrets_are_limited_by_client_and_source_and_the_genuine_client_gets_in,
    ca10_an_old_secret_is_good_until_it_is_dropped_and_then_on_no_node,
    cc4_a_client_that_was_disabled_by_way_of_one_node_is_refused_by_the_other,
    kill_9_amid_refreshes_signs_nobody_out,
];

async fn rt3_fifty_refreshes_at_once_on_one_node_and_on_two_get_one_live_successor(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let second = app.second_node().await;
    for nodes in [[&app, &app], [&app, &second]] {
        let token = app.sign_in(&client).await.refresh_token();
        let answers = join_all((0..50).map(|number| nodes[number % 2].refresh(&client, &token))).await;
        let successors: HashSet<String> = answers.iter().map(Answer::refresh_token).collect();
        assert_eq!((answers.len(), successors.len()), (50, 1), "{successors:?}");
        let successor = successors.into_iter().next().unwrap();
        let next = nodes[1].refresh(&client, &successor).await.refresh_token();
        nodes[0].refresh(&client, &next).await.granted();
    }
    assert_eq!(app.database.texts("SELECT id FROM logins WHERE ended_at IS NOT NULL").await, Vec::<String>::new());
}

async fn ca6_wrong_secrets_are_limited_by_client_and_source_and_the_genuine_client_gets_in(backend: Backend) {
    // Each attempt has a connection of its own.
    let settings = [("connections_per_source", "2048")];
    let app = TestApp::start_with(TestDatabase::create(backend).await, &settings).await.with_orders();
    let client = app.app_for_users("shop");
    let wrong = Credential { secret: "wrong".to_owned(), ..client.clone() };
    let answers = join_all((0..1000).map(|_| app.plain_token(&wrong))).await;
    let count = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(401), count(429)), (10, 990));
    for limited in answers.iter().filter(|answer| answer.status == 429) {
        limited.refused(429, "temporarily_unavailable");
        assert!((1..=10).contains(&limited.header("retry-after").unwrap().parse::<u64>().unwrap()));
    }
    let elsewhere = reqwest::Client::builder().local_address("127.0.0.2".parse::<std::net::IpAddr>().unwrap()).build().unwrap();
    let from_elsewhere = |secret: &str| {
        let request = elsewhere.post(app.url("/oauth/token")).basic_auth(&client.id, Some(secret));
        Answer::to(request.header("content-type", "application/x-www-form-urlencoded").body("grant_type=client_credentials"))
    };
    from_elsewhere(&client.secret).await.granted();
    from_elsewhere("wrong").await.refused(401, "invalid_client");
    // Other clients are not limited by it, and a client that does not exist is limited like one that does.
    let unknown = Credential { id: "unknown".to_owned(), secret: "wrong".to_owned() };
    let answers = join_all((0..12).map(|_| app.plain_token(&unknown))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 401).count(), 10);
    app.pass(Duration::from_secs(10)).await;
    app.plain_token(&wrong).await.refused(401, "invalid_client");
    app.plain_token(&wrong).await.refused(429, "temporarily_unavailable");
}

async fn ca10_an_old_secret_is_good_until_it_is_dropped_and_then_on_no_node(backend: Backend) {
    let (app, old) = TestApp::for_users(backend).await;
    let second = app.second_node().await;
    let added = app.run_json(&["client", "add-secret", "shop"]);
    let new = Credential { secret: added["secret"]["value"].as_str().unwrap().to_owned(), ..old.clone() };
    for node in [&app, &second] {
        node.settle().await;
        node.plain_token(&old).await.granted();
        node.plain_token(&new).await.granted();
    }
    app.run(&["client", "drop-secret", "shop", &old.secret[3..19], "--yes"]).succeeded();
    for node in [&app, &second] {
        // Half a second of each node's time.
        node.settle().await;
        node.plain_token(&old).await.refused(401, "invalid_client");
        node.plain_token(&new).await.granted();
    }
}

async fn cc4_a_client_that_was_disabled_by_way_of_one_node_is_refused_by_the_other(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let second = app.second_node().await;
    for command in [&["client", "disable", "shop"][..], &["client", "enable", "shop"], &["client", "delete", "shop", "--yes"]] {
        app.run(command).succeeded();
        for node in [&app, &second] {
            node.settle().await;
            let answer = node.plain_token(&client).await;
            if command[1] == "enable" {
                answer.granted();
            } else {
                answer.refused(401, "invalid_client");
            }
        }
    }
}

/// How many apps refresh, and how often their server is killed.
const APPS: usize = 20;
const KILLS: u64 = 30;

async fn kill_9_amid_refreshes_signs_nobody_out(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let mut server = Process::serve(&database);
    let addr = Arc::new(Mutex::new(server.addr().await));
    let secret = furnish(&database);
    let answered = Arc::new(AtomicU64::new(0));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut apps = tokio::task::JoinSet::new();
    let http = reqwest::Client::new();
    for _ in 0..APPS {
        let url = format!("http://{}/oauth/token", addr.lock().unwrap());
        let request = http.post(url).basic_auth("shop", Some(&secret)).header("content-type", "application/x-www-form-urlencoded");
        let mut token = Answer::to(request.body(format!("grant_type=password&{SIGN_IN}"))).await.refresh_token();
        let (addr, secret, answered, stopped) = (Arc::clone(&addr), secret.clone(), Arc::clone(&answered), stopped.clone());
        apps.spawn(async move {
            // No connection is kept: the server at its other end may be gone. An answer that never comes is asked for again.
            let http = reqwest::Client::builder().pool_max_idle_per_host(0).timeout(Duration::from_secs(10)).build().unwrap();
            let ask = async |body: String| {
                let url = format!("http://{}/oauth/token", addr.lock().unwrap());
                let request =
                    http.post(url).basic_auth("shop", Some(&secret)).header("content-type", "application/x-www-form-urlencoded").body(body);
                let response = request.send().await.ok()?;
                let status = response.status().as_u16();
                Some((status, response.text().await.ok()?))
            };
            let token_in =
                |body: &str| serde_json::from_str::<serde_json::Value>(body).unwrap()["refresh_token"].as_str().unwrap().to_owned();
            let insist = async |body: String| {
                loop {
                    match ask(body.clone()).await {
                        Some((200, body)) => return token_in(&body),
                        // Killed, starting again, or overloaded: the app repeats what it asked.
                        None | Some((503, _)) => tokio::task::yield_now().await,
                        Some((status, body)) => panic!("{status} {body}"),
                    }
                }
            };
            let mut steps = 0;
            while !*stopped.borrow() {
                token = insist(format!("grant_type=refresh_token&refresh_token={token}")).await;
                answered.fetch_add(1, Relaxed);
                steps += 1;
            }
            steps
        });
    }
    for kill in 1..=KILLS {
        // After some answers, so that each server did something and others are on their way.
        let goal = answered.load(Relaxed) + 5 + kill % 7;
        crate::support::wait_until(|| answered.load(Relaxed) >= goal).await;
        server.signal("KILL");
        server.wait();
        server = Process::serve(&database);
        let next = server.addr().await;
        *addr.lock().unwrap() = next;
    }
    stop.send(true).unwrap();
    let steps: Vec<u64> = apps.join_all().await;
    assert!(steps.iter().all(|steps| *steps > 0), "{steps:?}");
    assert_eq!(database.texts("SELECT ended_because FROM logins WHERE ended_at IS NOT NULL").await, Vec::<String>::new());
    assert_eq!(database.texts("SELECT id FROM logins").await.len(), APPS);
}
