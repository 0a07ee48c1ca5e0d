//! More tokens by RSA are requested than can be signed.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use tokio::task::JoinHandle;

use crate::support::{Backend, Credential, List, TestApp, TestDatabase, on_sqlite, position};

on_sqlite![a_full_queue_of_tokens_delays_no_list, while_the_queue_is_full_no_password_is_hashed];

/// A server that signs one token at a time, while one waits.
const ONE_AT_A_TIME: [(&str, &str); 2] = [("signing_threads", "1"), ("signing_queue", "1")];

/// Callers that request one token after the other, more of them than find a place in the queue.
struct Flood {
    refused: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    callers: Vec<JoinHandle<()>>,
}

impl Flood {
    fn of(app: &TestApp, client: &Credential) -> Self {
        let (refused, over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let call = |_| {
            let request = app.token_request("grant_type=client_credentials").basic_auth(&client.id, Some(&client.secret));
            let (refused, over) = (Arc::clone(&refused), Arc::clone(&over));
            tokio::spawn(async move {
                while !over.load(Relaxed) {
                    let answer = request.try_clone().unwrap().send().await.unwrap();
                    refused.fetch_add(u64::from(answer.status() == 503), Relaxed);
                }
            })
        };
        let callers = (0..16).map(call).collect();
        Self { refused, over, callers }
    }

    /// How many requests were refused until now.
    fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    async fn end(self) {
        self.over.store(true, Relaxed);
        for caller in self.callers {
            caller.await.unwrap();
        }
    }
}

async fn a_full_queue_of_tokens_delays_no_list(backend: Backend) {
    let app = TestApp::start_with(TestDatabase::create(backend).await, &ONE_AT_A_TIME).await.with_orders();
    let client = app.client("billing");
    let (uri, position) = position(&app.plain_token(&client).await.access_token());
    app.publish().await;
    let flood = Flood::of(&app, &client);
    // Each is answered while tokens are refused.
    let (path, mut served) = (app.list_path(&uri), 0);
    for _ in 0..10_000 {
        let before = flood.refused();
        assert_eq!(app.get(path).await.status, 200);
        served += u32::from(flood.refused() > before);
        if served == 20 {
            break;
        }
    }
    assert_eq!(served, 20, "no token is refused");
    app.set_position(&uri, position).await;
    let (before, signed) = (flood.refused(), app.meters.status_lists_signed.get());
    app.publish().await;
    assert_eq!(List::get(&app, &uri).await.set, BTreeSet::from([position]));
    assert_eq!(app.meters.status_lists_signed.get(), signed + 1);
    assert!(flood.refused() > before, "tokens were refused while it was signed");
    flood.end().await;
}

async fn while_the_queue_is_full_no_password_is_hashed(backend: Backend) {
    let app = TestApp::start_with(TestDatabase::create(backend).await, &ONE_AT_A_TIME).await.with_orders();
    let client = app.app_for_users("shop");
    app.user("alice");
    let flood = Flood::of(&app, &app.client("billing"));
    let mut without_hash = 0;
    for _ in 0..300 {
        let before = app.meters.password_hashes.get();
        let answer = app.sign_in(&client).await;
        // The queue may also become full while the password is hashed.
        if app.meters.password_hashes.get() == before {
            assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
            without_hash += 1;
        }
        if without_hash == 3 {
            break;
        }
    }
    assert_eq!(without_hash, 3, "each request had its password hashed");
    flood.end().await;
}
