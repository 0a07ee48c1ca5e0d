//! Several nodes: two servers in this process on one database, and servers that are killed.

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
    support::{Answer, Backend, Credential, Process, SIGN_IN, TestApp, TestDatabase, furnish, on_both_databases, on_sqlite},
};

on_both_databases![
    rt3_fifty_refreshes_at_once_on_one_node_and_on_two_get_one_valid_successor,
    ca10_an_old_secret_is_valid_on_all_nodes_until_it_is_dropped,
    cc4_a_change_of_a_client_takes_effect_on_every_node,
    kill_9_during_refreshes_ends_no_login,
];

on_sqlite![ca6_wrong_secrets_are_limited_by_client_and_source_and_the_correct_secret_is_accepted];

async fn rt3_fifty_refreshes_at_once_on_one_node_and_on_two_get_one_valid_successor(backend: Backend) {
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

async fn ca6_wrong_secrets_are_limited_by_client_and_source_and_the_correct_secret_is_accepted(backend: Backend) {
    // Each attempt uses its own connection.
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
    // Other clients are not limited, and an unknown client is limited like an existing one.
    let unknown = Credential { id: "unknown".to_owned(), secret: "wrong".to_owned() };
    let answers = join_all((0..12).map(|_| app.plain_token(&unknown))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 401).count(), 10);
    app.pass(Duration::from_secs(10)).await;
    app.plain_token(&wrong).await.refused(401, "invalid_client");
    app.plain_token(&wrong).await.refused(429, "temporarily_unavailable");
}

async fn ca10_an_old_secret_is_valid_on_all_nodes_until_it_is_dropped(backend: Backend) {
    let (app, old) = TestApp::for_users(backend).await;
    let second = app.second_node().await;
    let new = app.database.add_secret(&old, None);
    for node in [&app, &second] {
        node.settle().await;
        node.plain_token(&old).await.granted();
        node.plain_token(&new).await.granted();
    }
    app.database.drop_secret(&old);
    for node in [&app, &second] {
        // Half a second for each node.
        node.settle().await;
        node.plain_token(&old).await.refused(401, "invalid_client");
        node.plain_token(&new).await.granted();
    }
}

async fn cc4_a_change_of_a_client_takes_effect_on_every_node(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let second = app.second_node().await;
    let on_both_nodes = async |status: u16| {
        for node in [&app, &second] {
            node.settle().await;
            assert_eq!(node.plain_token(&client).await.status, status);
        }
    };
    app.database.disable_client("shop");
    on_both_nodes(401).await;
    app.database.enable_client("shop");
    on_both_nodes(200).await;
    app.database.delete_client("shop");
    on_both_nodes(401).await;
}

/// How many apps refresh, and how often their server is killed.
const APPS: usize = 20;
const KILLS: u64 = 30;

async fn kill_9_during_refreshes_ends_no_login(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let mut server = Process::serve(&database);
    let addr = Arc::new(Mutex::new(server.addr().await));
    let secret = furnish(&database);
    let answered = Arc::new(AtomicU64::new(0));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut apps = tokio::task::JoinSet::new();
    let http = reqwest::Client::new();
    let mut tokens = Vec::new();
    for _ in 0..APPS {
        let url = format!("http://{}/oauth/token", addr.lock().unwrap());
        let request = http.post(url).basic_auth("shop", Some(&secret)).header("content-type", "application/x-www-form-urlencoded");
        tokens.push(Answer::to(request.body(format!("grant_type=password&{SIGN_IN}"))).await.refresh_token());
    }
    for mut token in tokens {
        let (addr, secret, answered, stopped) = (Arc::clone(&addr), secret.clone(), Arc::clone(&answered), stopped.clone());
        apps.spawn(async move {
            // Connections are not reused, because the server may have been killed. A request without an answer is repeated.
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
                        // Killed, starting, or overloaded: the app repeats the request.
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
        // After some answers, so that each server has done some work and has requests in flight.
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
