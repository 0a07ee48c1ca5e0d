//! How many connections and requests there may be at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Router, body::Bytes, routing::get};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

use super::{Api, Pieces, World, api_with, problem, raw};
use crate::support::{Backend, Behaviour, on_sqlite, wait_until};

on_sqlite![
    hd2_requests_that_wait_for_a_token_are_limited_and_further_ones_are_refused_at_once,
    hd3_a_connection_that_is_idle_makes_room_for_another,
    hd3_a_connection_for_which_there_is_no_room_waits_and_is_not_dropped,
    hd2_an_app_that_still_sends_gets_its_answer,
    gd4_the_limits_of_several_listeners_are_reported_as_their_sum,
];

async fn hd2_requests_that_wait_for_a_token_are_limited_and_further_ones_are_refused_at_once(backend: Backend) {
    let world = World::begin(backend).await;
    world.relay.token(Behaviour::Silent);
    let api = Api::start().await;
    let attach = world.attach_with(&[("to", &api.origin), ("connections", "8")]).await;
    world.asked(1).await;
    // On one connection, each holds back the end of its body.
    let http2 = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap();
    let (mut held_back, mut requests) = (Vec::new(), JoinSet::new());
    for _ in 0..40 {
        let (sender, pieces) = Pieces::new();
        sender.send(Bytes::from(vec![b'x'; 32 * 1024])).await.unwrap();
        held_back.push(sender);
        let request = http2.post(&attach.url).body(reqwest::Body::wrap(pieces));
        requests.spawn(async move { request.send().await.unwrap().status().as_u16() });
    }
    for _ in 0..32 {
        assert_eq!(requests.join_next().await.unwrap().unwrap(), 503);
    }
    let outcome = |name: &str| format!("sealwright_attach_requests_total{{route=\"1\",outcome=\"{name}\"}}");
    assert_eq!(attach.metric(&world, &outcome("full")).await, Some(32), "eight wait");
    assert!(requests.try_join_next().is_none() && api.seen().is_empty());

    // The attempt to get a token ends at its time limit, and so does the wait of the eight.
    world.clock.advance(Duration::from_secs(10));
    let left = requests.join_all().await;
    assert_eq!(left, [503; 8]);
    assert_eq!(attach.metric(&world, &outcome("issuer_unavailable")).await, Some(8));
    world.relay.comes_back();
    world.becomes_ready(&attach).await;
    assert_eq!(world.get(&attach.url).send().await.unwrap().status(), 200);
}

async fn hd3_a_connection_that_is_idle_makes_room_for_another(backend: Backend) {
    let world = World::begin(backend).await;
    let api = Api::start().await;
    let attach = world.attach_with(&[("to", &api.origin), ("connections", "2")]).await;
    let idle = async || {
        let mut stream = TcpStream::connect(&attach.listens[0]).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut received = Vec::new();
        while !received.ends_with(b"fine") {
            assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
        }
        stream
    };
    let (mut first, mut second) = (idle().await, idle().await);
    assert_eq!(world.get(&attach.url).send().await.unwrap().status(), 200);
    let (mut one, mut other) = ([0], [0]);
    let closed = tokio::select! {
        read = first.read(&mut one) => read,
        read = second.read(&mut other) => read,
    };
    assert_eq!(closed.unwrap(), 0, "one of the two is closed");
}

async fn hd3_a_connection_for_which_there_is_no_room_waits_and_is_not_dropped(backend: Backend) {
    let world = World::begin(backend).await;
    let (gate, arrived) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let slow = {
        let (gate, arrived) = (gate.clone(), arrived.clone());
        move || {
            let (gate, arrived) = (gate.clone(), arrived.clone());
            async move {
                arrived.fetch_add(1, SeqCst);
                gate.acquire().await.unwrap().forget();
                "done"
            }
        }
    };
    let origin = api_with(Router::new().route("/slow", get(slow))).await;
    let attach = world.attach_with(&[("to", &origin), ("connections", "2")]).await;
    let mut requests = JoinSet::new();
    let mut ask = || {
        let addr = attach.listens[0].clone();
        requests.spawn(async move { raw(&addr, "GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await });
    };
    ask();
    ask();
    wait_until(|| arrived.load(SeqCst) == 2).await;
    // All come from one address, and both places are taken by requests under way.
    (0..20).for_each(|_| ask());
    // Served while the others wait.
    assert_eq!(attach.readiness(&world).await.0, 200);
    gate.add_permits(22);
    for answer in requests.join_all().await {
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("done"), "{answer}");
    }
    assert_eq!(attach.metric(&world, "sealwright_attach_connections_refused_total").await, Some(0));
}

async fn hd2_an_app_that_still_sends_gets_its_answer(backend: Backend) {
    let world = World::begin(backend).await;
    let origin = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let attach = world.attach(&origin).await;
    let body = vec![b'x'; 2 * 1024 * 1024];
    for _ in 0..5 {
        for (header, status, reason) in [("x-own", 502, "origin_unreachable"), ("origin", 403, "page_refused")] {
            let request = world.http.post(&attach.url).header(header, "https://evil.example").body(body.clone());
            let (got, problem) = problem(request).await;
            assert_eq!((got, problem["reason"].as_str()), (status, Some(reason)));
        }
    }
}

async fn gd4_the_limits_of_several_listeners_are_reported_as_their_sum(backend: Backend) {
    let world = World::begin(backend).await;
    let api = Api::start().await;
    let to = format!("{0} 127.0.0.1:0={0} 127.0.0.1:0={0}", api.origin);
    let attach = world.attach_with(&[("to", &to), ("connections", "5")]).await;
    for addr in &attach.listens {
        assert_eq!(world.get(format!("http://{addr}/")).send().await.unwrap().status(), 200);
    }
    assert_eq!(attach.metric(&world, "sealwright_attach_connections_max").await, Some(15));
    assert_eq!(attach.metric(&world, "sealwright_attach_connections").await, Some(3), "of all listeners");
}
