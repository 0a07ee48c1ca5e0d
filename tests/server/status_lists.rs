//! The published status lists: draft-ietf-oauth-status-list.

use std::{
    collections::BTreeSet,
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use flate2::read::ZlibDecoder;
use josekit::{
    jwk::Jwk,
    jws::{self, RS256},
};
use reqwest::Method;
use serde_json::Value;

use crate::{
    revocation::join_all,
    support::{Answer, Backend, Credential, SIGN_IN, TestApp, TestDatabase, header_of, kids, on_both_databases, on_sqlite},
};

on_both_databases![
    sl1_a_list_shows_the_positions_of_revoked_tokens_and_no_others,
    sl1_nodes_with_the_same_revocations_give_the_same_etag,
    sl1_a_node_that_cannot_read_its_database_does_not_say_that_nothing_has_changed,
];

on_sqlite![
    sl1_a_list_is_signed_at_most_once_a_second_while_fifty_tokens_a_second_are_revoked,
    sl1_a_list_that_has_not_changed_is_not_sent_again,
    sl1_the_metadata_leads_to_all_lists,
    sl3_a_list_that_does_not_exist_is_not_found,
    sl4_a_list_is_signed_again_before_it_expires_and_when_the_key_changes,
    sl5_a_list_that_no_one_requests_is_not_signed,
    many_first_requests_for_a_list_share_one_signature,
    a_full_queue_of_tokens_delays_no_list,
    without_status_lists_no_token_names_one_and_known_lists_are_still_served,
];

const SECOND: Duration = Duration::from_secs(1);
const POSITIONS: usize = 1 << 20;

/// A status list that was verified with the keys of the server.
pub(crate) struct List {
    answer: Answer,
    claims: Value,
    /// The positions that are set.
    pub(crate) set: BTreeSet<u64>,
}

impl List {
    pub(crate) async fn get(app: &TestApp, uri: &str) -> Self {
        Self::read(app, app.get(uri.strip_prefix(&app.issuer).unwrap()).await).await
    }

    /// Reads an answer as the draft's section 8.3 says.
    async fn read(app: &TestApp, answer: Answer) -> Self {
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/statuslist+jwt")), "{answer:?}");
        let header = header_of(&answer.body);
        assert_eq!((&header["typ"], &header["alg"]), (&"statuslist+jwt".into(), &"RS256".into()));
        let jwks = app.get("/.well-known/jwks.json").await.json();
        let key = jwks["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"]).unwrap();
        let verifier = RS256.verifier_from_jwk(&Jwk::from_map(key.as_object().unwrap().clone()).unwrap()).unwrap();
        let (payload, _) = jws::deserialize_compact(&answer.body, &verifier).unwrap();
        let claims: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(claims["status_list"]["bits"], 1);
        let compressed = BASE64_URL_SAFE_NO_PAD.decode(claims["status_list"]["lst"].as_str().unwrap()).unwrap();
        let mut bytes = Vec::new();
        ZlibDecoder::new(&compressed[..]).read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), POSITIONS / 8);
        // The first position is the lowest bit of the first byte (section 4.1).
        let is_set = |position: &u64| bytes[usize::try_from(*position / 8).unwrap()] >> (position % 8) & 1 == 1;
        Self { answer, claims, set: (0..POSITIONS as u64).filter(is_set).collect() }
    }

    fn etag(&self) -> &str {
        self.answer.header("etag").unwrap()
    }

    fn iat(&self) -> i64 {
        self.claims["iat"].as_i64().unwrap()
    }
}

/// The list and the position that a token names.
fn status(token: &Answer) -> (String, u64) {
    let claims = token.claims();
    let status = &claims["status"]["status_list"];
    (status["uri"].as_str().unwrap().to_owned(), status["idx"].as_u64().unwrap())
}

/// A token of the user, and its refresh token.
async fn sign_in(app: &TestApp, client: &Credential) -> ((String, u64), String) {
    let answer = app.sign_in(client).await;
    (status(&answer), answer.refresh_token())
}

/// Lets the server notice changes and publish them.
async fn publish(app: &TestApp) {
    app.settle().await;
    app.pass(SECOND).await;
}

/// Sets a position, as a revocation does.
async fn set(app: &TestApp, uri: &str, position: u64) {
    let (list, now) = (uri.rsplit('/').next().unwrap(), app.now().seconds());
    app.database.execute("UPDATE epochs SET n = n + 1 WHERE kind = 'revocations'").await;
    let insert = format!(
        "INSERT INTO revocations (epoch, list_id, start, width, revoked_at, expires_at)
         SELECT n, '{list}', {position}, 1, {now}, {} FROM epochs WHERE kind = 'revocations'",
        now + 86_400
    );
    app.database.execute(&insert).await;
}

async fn again(app: &TestApp, method: Method, path: &str, etag: &str) -> Answer {
    Answer::to(app.request(method, path).header("if-none-match", etag)).await
}

fn path(app: &TestApp, uri: &str) -> String {
    uri.strip_prefix(&app.issuer).unwrap().to_owned()
}

async fn sl1_a_list_shows_the_positions_of_revoked_tokens_and_no_others(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    app.settle().await;
    let ((uri, first), _) = sign_in(&app, &client).await;
    let ((_, second), refresh_token) = sign_in(&app, &client).await;
    let ((_, third), _) = sign_in(&app, &client).await;
    assert_eq!(BTreeSet::from([first, second, third]).len(), 3);

    publish(&app).await;
    let before = List::get(&app, &uri).await;
    assert_eq!(before.set, BTreeSet::new());
    assert_eq!(app.revoke(&client, &format!("token={refresh_token}")).await.status, 200);
    assert_eq!(List::get(&app, &uri).await.answer.body, before.answer.body, "it is served from memory until the next one is signed");
    publish(&app).await;
    let after = List::get(&app, &uri).await;
    assert_eq!(after.set, BTreeSet::from([second]));

    assert_eq!(after.claims["sub"], uri);
    assert_eq!(after.claims["ttl"], 10);
    assert!((app.now().seconds() - 2..=app.now().seconds()).contains(&after.iat()), "when its view was confirmed: {}", after.claims);
    assert_eq!(after.claims["exp"], after.iat() + 3600);
    let epoch = |list: &List| list.claims["sealwright_epoch"].as_i64().unwrap();
    assert!(epoch(&before) < epoch(&after), "the order of lists whose clocks differ");
    assert_eq!(after.answer.header("cache-control"), Some("public, max-age=1"));
    assert_ne!(before.etag(), after.etag());

    // The tokens of a client have a span of their own.
    let own = app.plain_token(&client).await;
    let (uri, position) = status(&own);
    app.database.disable_client(&client.id);
    publish(&app).await;
    let span = List::get(&app, &uri).await.set;
    assert!(span.len() == 256 && span.contains(&position), "{span:?}");
}

async fn sl1_nodes_with_the_same_revocations_give_the_same_etag(backend: Backend) {
    let settings = [("issuer", "https://issuer.example")];
    let mut first = TestApp::start_with(TestDatabase::create(backend).await, &settings).await.with_orders();
    let client = first.app_for_users("shop");
    first.user("alice");
    let mut second = first.second_node_with(&settings).await;
    for node in [&mut first, &mut second] {
        "https://issuer.example".clone_into(&mut node.issuer);
    }
    let ((uri, position), refresh_token) = sign_in(&first, &client).await;
    let path = path(&first, &uri);
    // The second node has not noticed the new list yet.
    let made = List::get(&second, &uri).await;
    assert_eq!(made.set, BTreeSet::new());

    assert_eq!(first.revoke(&client, &format!("token={refresh_token}")).await.status, 200);
    second.pass(Duration::from_secs(7)).await;
    publish(&first).await;
    publish(&second).await;
    let lists = [List::get(&first, &uri).await, List::get(&second, &uri).await];
    assert_eq!((&lists[0].set, &lists[1].set), (&BTreeSet::from([position]), &BTreeSet::from([position])));
    assert_ne!(lists[0].iat(), lists[1].iat(), "their clocks differ");
    assert_eq!(lists[0].etag(), lists[1].etag());
    assert_eq!(lists[0].claims["sealwright_epoch"], lists[1].claims["sealwright_epoch"]);
    assert_eq!(again(&second, Method::GET, &path, lists[0].etag()).await.status, 304);
    assert_ne!(made.etag(), lists[1].etag());
}

async fn sl1_a_node_that_cannot_read_its_database_does_not_say_that_nothing_has_changed(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let ((uri, _), _) = sign_in(&app, &client).await;
    publish(&app).await;
    let list = List::get(&app, &uri).await;
    let path = path(&app, &uri);
    app.database.execute("ALTER TABLE epochs RENAME TO epochs_gone").await;
    app.database.execute("ALTER TABLE status_lists RENAME TO status_lists_gone").await;
    app.pass(4 * SECOND).await;
    assert_eq!(again(&app, Method::GET, &path, list.etag()).await.status, 304);
    for time in [2 * SECOND, 2000 * SECOND] {
        app.pass(time).await;
        let blind = again(&app, Method::GET, &path, list.etag()).await;
        assert_eq!((blind.status, blind.header("etag")), (200, Some(list.etag())));
        assert_eq!(List::read(&app, blind).await.iat(), list.iat(), "it does not claim to be fresh");
    }
    // Another node may just have made this one.
    let unknown = app.get(&format!("/oauth/status-lists/{}", "A".repeat(22))).await;
    unknown.refused(503, "temporarily_unavailable");
    assert_eq!(unknown.header("retry-after"), Some("1"));

    app.database.execute("ALTER TABLE epochs_gone RENAME TO epochs").await;
    app.database.execute("ALTER TABLE status_lists_gone RENAME TO status_lists").await;
    publish(&app).await;
    assert_eq!(again(&app, Method::GET, &path, list.etag()).await.status, 304);
    assert!(List::get(&app, &uri).await.iat() > list.iat());
}

async fn sl1_a_list_is_signed_at_most_once_a_second_while_fifty_tokens_a_second_are_revoked(backend: Backend) {
    const SECONDS: u64 = 4;
    let (app, client) = TestApp::for_users(backend).await;
    let ((uri, _), _) = sign_in(&app, &client).await;
    publish(&app).await;
    let mut etags = BTreeSet::from([List::get(&app, &uri).await.etag().to_owned()]);
    let signed = app.meters.status_lists_signed.get();
    for position in 0..50 * SECONDS {
        set(&app, &uri, position).await;
        app.pass(SECOND / 50).await;
        etags.insert(app.get(&path(&app, &uri)).await.header("etag").unwrap().to_owned());
    }
    let signed = app.meters.status_lists_signed.get() - signed;
    assert!((SECONDS - 1..=SECONDS).contains(&signed), "{signed}");
    assert_eq!(etags.len() as u64, 1 + signed);
    publish(&app).await;
    assert_eq!(List::get(&app, &uri).await.set, (0..50 * SECONDS).collect());
    let metrics = app.metrics().await;
    for line in ["sealwright_positions_revoked 200", "sealwright_status_lists_held 1", "sealwright_status_lists 1"] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
}

async fn sl1_a_list_that_has_not_changed_is_not_sent_again(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let ((uri, position), _) = sign_in(&app, &client).await;
    publish(&app).await;
    let list = List::get(&app, &uri).await;
    let (path, etag) = (path(&app, &uri), list.etag());
    assert!(etag.starts_with("W/\"") && etag.ends_with('"'), "the same content can have other signatures: {etag}");
    for known in [etag.to_owned(), etag[2..].to_owned(), format!("\"other\", {etag}"), "*".to_owned()] {
        let answer = again(&app, Method::GET, &path, &known).await;
        assert_eq!((answer.status, answer.body.as_str(), answer.header("etag")), (304, "", Some(etag)), "{known}");
        assert_eq!(answer.header("cache-control"), Some("public, max-age=1"));
    }
    let head = Answer::to(app.request(Method::HEAD, &path)).await;
    assert_eq!((head.status, head.body.as_str(), head.header("etag")), (200, "", Some(etag)));
    // Neither a change of other lists nor time alone changes it, and what it cannot do does no harm.
    app.plain_token(&client).await.granted();
    app.pass(2000 * SECOND).await;
    publish(&app).await;
    for path in [path.clone(), format!("{path}?time=1")] {
        let cwt = app.request(Method::GET, &path).header("if-none-match", etag).header("accept", "application/statuslist+cwt");
        assert_eq!(Answer::to(cwt).await.status, 304);
    }
    assert!(List::get(&app, &uri).await.iat() > list.iat());
    set(&app, &uri, position).await;
    publish(&app).await;
    assert_eq!(again(&app, Method::GET, &path, etag).await.status, 200);
}

async fn sl1_the_metadata_leads_to_all_lists(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let app = TestApp::start_with(database, &[("issuer", "http://localhost/auth")]).await.with_orders();
    let client = app.app_for_users("shop");
    app.user("alice");
    let all = "/auth/oauth/status-lists";
    assert_eq!(app.get(all).await.json()["status_lists"], Value::Array(Vec::new()));
    let metadata = app.get("/auth/.well-known/oauth-authorization-server").await.json();
    assert_eq!(metadata["status_list_aggregation_endpoint"], "http://localhost/auth/oauth/status-lists");

    let token = async |form: &str| {
        let request = app.form("/auth/oauth/token", form).basic_auth(&client.id, Some(&client.secret));
        status(&Answer::to(request).await).0
    };
    let uris = [token(&format!("grant_type=password&{SIGN_IN}")).await, token("grant_type=client_credentials").await];
    app.settle().await;
    let answer = app.get(all).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=1"));
    let listed: BTreeSet<_> =
        answer.json()["status_lists"].as_array().unwrap().iter().map(|uri| uri.as_str().unwrap().to_owned()).collect();
    assert_eq!(listed, uris.clone().into());
    assert_eq!(again(&app, Method::GET, all, answer.header("etag").unwrap()).await.status, 304);
    for uri in uris {
        assert_eq!(app.get(uri.strip_prefix("http://localhost").unwrap()).await.status, 200, "{uri}");
    }
}

async fn sl3_a_list_that_does_not_exist_is_not_found(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let ((uri, _), _) = sign_in(&app, &client).await;
    publish(&app).await;
    List::get(&app, &uri).await;
    let path = path(&app, &uri);
    let longer = format!("{path}A");
    let unknown = format!("/oauth/status-lists/{}", "A".repeat(22));
    for path in
        [unknown.as_str(), &longer, &path[..path.len() - 1], "/oauth/status-lists/", "/oauth/status-lists/%ff", &format!("{path}/x")]
    {
        app.get(path).await.refused(404, "invalid_request");
    }
    Answer::to(app.request(Method::POST, &path)).await.refused(405, "invalid_request");

    // Its last token has expired.
    app.database.execute("DELETE FROM status_lists").await;
    app.database.execute("UPDATE epochs SET n = n + 1 WHERE kind = 'revocations'").await;
    publish(&app).await;
    app.get(&path).await.refused(404, "invalid_request");
    assert_eq!(app.get("/oauth/status-lists").await.json()["status_lists"], Value::Array(Vec::new()));
}

async fn sl4_a_list_is_signed_again_before_it_expires_and_when_the_key_changes(backend: Backend) {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let (app, client) = TestApp::for_users(backend).await;
    let ((uri, _), _) = sign_in(&app, &client).await;
    publish(&app).await;
    let mut signed = BTreeSet::new();
    for _ in 0..12 {
        let list = List::get(&app, &uri).await;
        assert!(list.claims["exp"].as_i64().unwrap() > app.now().seconds() + 600, "{}", list.claims);
        signed.insert(list.answer.body);
        app.pass(1200 * SECOND).await;
        app.settle().await;
    }
    assert!((4..=7).contains(&signed.len()), "about every 40 minutes: {}", signed.len());

    // The next key is published, and signs a day later.
    let first = kids(&app).await;
    app.pass(29 * DAY).await;
    for _ in 0..2 {
        app.pass(5 * SECOND).await;
        app.settle().await;
    }
    assert_eq!(kids(&app).await.len(), 2);
    let kid = |list: &List| header_of(&list.answer.body)["kid"].as_str().unwrap().to_owned();
    // The list is gone unless its tokens last: another one.
    let ((uri, _), _) = sign_in(&app, &client).await;
    app.pass(DAY - 4 * 3600 * SECOND - 60 * SECOND).await;
    app.settle().await;
    let mut before = List::get(&app, &uri).await;
    assert_eq!(kid(&before), first[0]);
    for _ in 0..40 {
        app.pass(600 * SECOND).await;
        app.settle().await;
        let list = List::get(&app, &uri).await;
        if kid(&list) != kid(&before) {
            assert_ne!(list.etag(), before.etag(), "a verifier that no longer trusts the old key must get it");
            return;
        }
        before = list;
    }
    panic!("it is still signed with the old key");
}

async fn sl5_a_list_that_no_one_requests_is_not_signed(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let ((uri, position), _) = sign_in(&app, &client).await;
    publish(&app).await;
    assert_eq!(app.meters.status_lists_signed.get(), 0);
    List::get(&app, &uri).await;
    app.pass(3601 * SECOND).await;
    let signed = app.meters.status_lists_signed.get();
    set(&app, &uri, position).await;
    publish(&app).await;
    assert_eq!(app.meters.status_lists_signed.get(), signed);
    assert_eq!(List::get(&app, &uri).await.set, BTreeSet::from([position]));
}

async fn many_first_requests_for_a_list_share_one_signature(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    let ((uri, _), _) = sign_in(&app, &client).await;
    publish(&app).await;
    let path = path(&app, &uri);
    let answers = join_all((0..30).map(|_| app.get(&path))).await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body));
    assert_eq!(app.meters.status_lists_signed.get(), 1);
}

async fn a_full_queue_of_tokens_delays_no_list(backend: Backend) {
    let settings = [("signing_threads", "1"), ("signing_queue", "1")];
    let app = TestApp::start_with(TestDatabase::create(backend).await, &settings).await.with_orders();
    let client = app.client("billing");
    let (uri, position) = status(&app.plain_token(&client).await);
    publish(&app).await;
    let (refused, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let load: Vec<_> = (0..16)
        .map(|_| {
            let request = app.token_request("grant_type=client_credentials").basic_auth(&client.id, Some(&client.secret));
            let (refused, over) = (Arc::clone(&refused), Arc::clone(&over));
            tokio::spawn(async move {
                while !over.load(Relaxed) {
                    let answer = request.try_clone().unwrap().send().await.unwrap();
                    refused.fetch_add(u64::from(answer.status() == 503), Relaxed);
                }
            })
        })
        .collect();
    // Each is answered while tokens are refused.
    let (path, mut served) = (path(&app, &uri), 0);
    while served < 20 {
        let before = refused.load(Relaxed);
        assert_eq!(app.get(&path).await.status, 200);
        served += u32::from(refused.load(Relaxed) > before);
    }
    set(&app, &uri, position).await;
    let (before, signed) = (refused.load(Relaxed), app.meters.status_lists_signed.get());
    publish(&app).await;
    assert_eq!(List::get(&app, &uri).await.set, BTreeSet::from([position]));
    assert_eq!(app.meters.status_lists_signed.get(), signed + 1);
    assert!(refused.load(Relaxed) > before, "tokens were refused while it was signed");
    over.store(true, Relaxed);
    for task in load {
        task.await.unwrap();
    }
}

async fn without_status_lists_no_token_names_one_and_known_lists_are_still_served(backend: Backend) {
    let issuer = ("issuer", "https://issuer.example");
    let mut app = TestApp::start_with(TestDatabase::create(backend).await, &[issuer]).await.with_orders();
    "https://issuer.example".clone_into(&mut app.issuer);
    let client = app.client("billing");
    let (uri, _) = status(&app.plain_token(&client).await);
    let path = path(&app, &uri);
    let app = TestApp::start_with(app.stop().await, &[issuer, ("status_lists", "false")]).await;
    assert_eq!(app.plain_token(&client).await.claims().get("status"), None);
    let metadata = app.get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(metadata.get("status_list_aggregation_endpoint"), None);
    // Tokens that name it may not have expired yet.
    assert_eq!(app.get(&path).await.status, 200);
}
