//! Logins on the command line, and one login compared with a simple model.

use std::time::Duration;

use proptest::{prelude::*, test_runner::TestRunner};

use crate::support::{Answer, Backend, Credential, TestApp, TestDatabase, on_both_databases};

on_both_databases![
    logins_are_listed_and_ended_by_id_user_and_client,
    a_login_whose_id_begins_with_a_hyphen_is_ended_like_any_other,
    a_login_behaves_like_a_simple_model_of_it,
    ad7_control_characters_are_escaped_on_the_terminal,
    beyond_the_limit_of_logins_per_user_and_client_the_least_used_login_ends,
    a_login_beyond_the_limit_is_revoked_until_its_last_token_has_expired_and_not_at_all_a_day_after_that,
    a_repeated_refresh_with_a_longer_lifetime_lengthens_the_revocation_of_the_login,
];

const ENDED: &str = "ended 1 login; verifiers that read the status lists refuse its access tokens within 12 s\n";

async fn logins_are_listed_and_ended_by_id_user_and_client(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let kiosk = app.app_for_users("kiosk");
    app.user("bob");
    let tokens =
        [app.sign_in(&shop).await.refresh_token(), app.sign_in(&shop).await.refresh_token(), app.sign_in(&kiosk).await.refresh_token()];
    let all = app.run_json(&["login", "list"]);
    assert_eq!(all.as_array().unwrap().len(), 3);
    let ids: Vec<_> = tokens.iter().map(|token| token[4..].split('.').next().unwrap()).collect();
    let login = all.as_array().unwrap().iter().find(|login| login["id"] == ids[0]).unwrap();
    let said = ["username", "client_id", "resource", "scope"].map(|name| login[name].as_str().unwrap());
    assert_eq!(said, ["alice", "shop", "https://orders.example", "orders:read orders:write"]);
    assert_eq!(login["over"], false);
    assert_eq!(app.run_json(&["login", "list", "--client", "kiosk"]).as_array().unwrap().len(), 1);
    assert_eq!(app.run_json(&["login", "list", "--user", "bob"]).as_array().unwrap().len(), 0);

    assert_eq!(app.run(&["login", "end", "--", ids[0]]).succeeded().stdout, ENDED);
    assert_eq!(app.run(&["login", "end", "--", ids[0]]).succeeded().stdout, "ended 0 logins\n");
    app.refresh(&shop, &tokens[0]).await.refused(400, "invalid_grant");
    let next = app.refresh(&shop, &tokens[1]).await.refresh_token();
    assert_eq!(app.run(&["login", "end", "--client", "kiosk"]).succeeded().stdout, ENDED);
    app.refresh(&kiosk, &tokens[2]).await.refused(400, "invalid_grant");
    assert_eq!(app.run(&["login", "end", "--user", "alice"]).succeeded().stdout, ENDED);
    app.refresh(&shop, &next).await.refused(400, "invalid_grant");
    let table = app.run(&["login", "list"]).succeeded().stdout;
    assert_eq!(table.matches("ended: operator").count(), 3, "{table}");

    app.run(&["login", "end", "--user", "eve"]).failed_saying(&["there is no user eve"]);
    app.run(&["login", "end", "--client", "none"]).failed_saying(&["there is no client none"]);
    app.run(&["login", "end", "AAAAAAAAAAAAAAAAAAAAAA"]).failed_saying(&["there is no login"]);
    assert_eq!(app.run(&["login", "end"]).status.code(), Some(2));
}

async fn beyond_the_limit_of_logins_per_user_and_client_the_least_used_login_ends(backend: Backend) {
    let limits = [("logins_per_user", "3"), ("login_idle_lifetime", "1h")];
    let app = TestApp::start_with(TestDatabase::create(backend).await, &limits).await.with_orders();
    let (shop, kiosk) = (app.app_for_users("shop"), app.app_for_users("kiosk"));
    app.user("alice");
    let elsewhere = app.sign_in(&kiosk).await.refresh_token();
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(app.sign_in(&shop).await.refresh_token());
        app.pass(Duration::from_secs(1)).await;
    }
    // The first is used, so that the second is the least recently used.
    tokens[0] = app.refresh(&shop, &tokens[0]).await.refresh_token();
    app.pass(Duration::from_secs(1)).await;
    tokens.push(app.sign_in(&shop).await.refresh_token());
    app.refresh(&shop, &tokens[1]).await.refused(400, "invalid_grant");
    for still in [0, 2, 3] {
        tokens[still] = app.refresh(&shop, &tokens[still]).await.refresh_token();
    }
    app.refresh(&kiosk, &elsewhere).await.granted();
    let ended = "SELECT ended_because FROM logins WHERE ended_at IS NOT NULL";
    assert_eq!(app.database.texts(ended).await, ["displaced"]);

    // Expired logins do not count.
    app.pass(Duration::from_secs(3599)).await;
    tokens[0] = app.refresh(&shop, &tokens[0]).await.refresh_token();
    app.pass(Duration::from_secs(1)).await;
    for _ in 0..2 {
        app.sign_in(&shop).await.granted();
    }
    app.refresh(&shop, &tokens[0]).await.granted();
}

/// How long a login beyond the limit stays revoked after its last token has expired: the longest leeway and the skew, and a repeated answer to
/// a refresh.
const AFTER_EXP: u64 = 420 + 90;

async fn a_login_beyond_the_limit_is_revoked_until_its_last_token_has_expired_and_not_at_all_a_day_after_that(backend: Backend) {
    let app = TestApp::start_with(TestDatabase::create(backend).await, &[("logins_per_user", "1")]).await.with_orders();
    let shop = app.app_for_users("shop");
    app.user("alice");
    let ends = async || app.database.texts("SELECT CAST(expires_at AS TEXT) FROM revocations ORDER BY expires_at").await;
    app.sign_in(&shop).await.granted();
    app.pass(Duration::from_secs(600 + AFTER_EXP + 24 * 3600)).await;
    let second = app.sign_in(&shop).await;
    assert_eq!(app.database.texts("SELECT ended_because FROM logins WHERE ended_at IS NOT NULL").await, ["displaced"]);
    assert_eq!(ends().await, [""; 0]);

    let third = app.sign_in(&shop).await;
    app.pass(Duration::from_secs(300)).await;
    let refreshed = app.refresh(&shop, &third.refresh_token()).await;
    app.pass(Duration::from_secs(599)).await;
    let fourth = app.sign_in(&shop).await;
    let end = |issued: &Answer| (issued.claims()["exp"].as_u64().unwrap() + AFTER_EXP).to_string();
    assert_eq!(ends().await, [end(&second), end(&refreshed)]);

    // For all the server knows, its clock is ahead.
    app.pass(Duration::from_secs(600 + AFTER_EXP + 12 * 3600)).await;
    app.sign_in(&shop).await.granted();
    assert_eq!(ends().await.last(), Some(&end(&fourth)));
}

async fn a_repeated_refresh_with_a_longer_lifetime_lengthens_the_revocation_of_the_login(backend: Backend) {
    let app = TestApp::start_with(TestDatabase::create(backend).await, &[("logins_per_user", "1")]).await.with_orders();
    let shop = app.app_for_users("shop");
    app.user("alice");
    let first = app.sign_in(&shop).await.refresh_token();
    app.refresh(&shop, &first).await.granted();
    let tokens_end = async || app.database.texts("SELECT CAST(tokens_end_at AS TEXT) FROM logins").await;
    let before = tokens_end().await;
    app.refresh(&shop, &first).await.granted();
    assert_eq!(tokens_end().await, before, "a repeated refresh writes nothing");

    app.run(&["client", "update", "shop", "--token-lifetime", "24h"]).succeeded();
    app.settle().await;
    let repeated = app.refresh(&shop, &first).await;
    let exp = repeated.claims()["exp"].as_u64().unwrap();
    assert_eq!(tokens_end().await, [exp.to_string()]);
    app.sign_in(&shop).await.granted();
    let end = app.database.texts("SELECT CAST(expires_at AS TEXT) FROM revocations").await;
    assert_eq!(end, [(exp + AFTER_EXP).to_string()]);
}

/// Ids of earlier versions may begin with a hyphen.
async fn a_login_whose_id_begins_with_a_hyphen_is_ended_like_any_other(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    for start in ["-", "--", "-h", "--json"] {
        app.sign_in(&shop).await.granted();
        let rename = format!("UPDATE logins SET id = '{start}' || SUBSTR(id, {}) WHERE ended_at IS NULL", start.len() + 1);
        app.database.execute(&rename).await;
        let id = app.database.texts("SELECT id FROM logins WHERE ended_at IS NULL").await.remove(0);
        assert!(id.starts_with(start) && id.len() == 22);
        let said = app.run(&["login", "end", &id]).succeeded().stdout;
        assert!(said.starts_with("ended 1 login"), "{said}");
    }
}

/// An event of a login.
#[derive(Debug, Clone)]
enum Event {
    /// The token that was issued this many steps before the newest is presented.
    Refresh {
        back: usize,
        narrow: bool,
    },
    Pass(u64),
    Revoke {
        back: usize,
    },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (prop_oneof![6 => Just(0usize), 3 => Just(1), 1 => 2usize..4], any::<bool>()).prop_map(|(back, narrow)| Event::Refresh { back, narrow }),
        4 => prop::sample::select(vec![1u64, 29, 30, 31, 150, 299, 300, 1800]).prop_map(Event::Pass),
        1 => (0usize..3).prop_map(|back| Event::Revoke { back }),
    ]
}

/// A simple model of a login. Times are in seconds since it began.
struct Model {
    now: u64,
    tokens: Vec<String>,
    stepped_at: u64,
    idle_end: u64,
    ended: bool,
}

impl Model {
    const IDLE: u64 = 300;
    const ABSOLUTE: u64 = 3600;

    fn over(&self) -> bool {
        self.ended || self.now >= self.idle_end || self.now >= Self::ABSOLUTE
    }

    async fn apply(&mut self, app: &TestApp, client: &Credential, event: &Event) {
        let newest = self.tokens.len() - 1;
        match event {
            Event::Pass(seconds) => {
                self.now += seconds;
                app.pass(Duration::from_secs(*seconds)).await;
            }
            Event::Revoke { back } => {
                let answer = app.revoke(client, &format!("token={}", self.tokens[newest.saturating_sub(*back)])).await;
                assert_eq!(answer.status, 200);
                self.ended = true;
            }
            Event::Refresh { back, narrow } => {
                let presented = newest.saturating_sub(*back);
                let scope = if *narrow { "&scope=orders:read" } else { "" };
                let answer = app.token(client, &format!("grant_type=refresh_token&refresh_token={}{scope}", self.tokens[presented])).await;
                if self.over() {
                    answer.refused(400, "invalid_grant");
                } else if presented == newest {
                    let next = answer.refresh_token();
                    assert!(!self.tokens.contains(&next));
                    self.tokens.push(next);
                    (self.stepped_at, self.idle_end) = (self.now, (self.now + Self::IDLE).min(Self::ABSOLUTE));
                } else if presented + 1 == newest && self.now - self.stepped_at <= 30 {
                    assert_eq!(answer.refresh_token(), self.tokens[newest]);
                } else {
                    answer.refused(400, "invalid_grant");
                    self.ended = true;
                }
                if answer.status == 200 {
                    assert_eq!(answer.granted()["scope"], if *narrow { "orders:read" } else { "orders:read orders:write" });
                }
            }
        }
    }
}

async fn a_login_behaves_like_a_simple_model_of_it(backend: Backend) {
    let settings = [("login_idle_lifetime", "300s"), ("login_lifetime", "3600s")];
    let app = TestApp::start_with(TestDatabase::create(backend).await, &settings).await.with_orders();
    let client = app.app_for_users("shop");
    app.user("alice");
    let mut runner = TestRunner::new(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() });
    let run = |events: Vec<Event>| {
        tokio::runtime::Handle::current().block_on(async {
            let first = app.sign_in(&client).await.refresh_token();
            let mut model = Model { now: 0, tokens: vec![first], stepped_at: 0, idle_end: Model::IDLE, ended: false };
            for event in &events {
                model.apply(&app, &client, event).await;
            }
        });
        Ok(())
    };
    tokio::task::block_in_place(|| runner.run(&prop::collection::vec(event(), 1..20), run)).unwrap();
}

async fn ad7_control_characters_are_escaped_on_the_terminal(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    app.sign_in(&shop).await.granted();
    let text = "a\u{202e}l\u{9b}31m\u{1b}[31mi\u{2028}ce\u{fc}";
    app.database.execute(&format!("UPDATE logins SET ended_at = 1, ended_because = '{text}'")).await;
    for arguments in [&["login", "list"][..], &["login", "list", "--json"]] {
        let printed = app.run(arguments).succeeded().stdout;
        let is_control = |c: char| c != '\n' && c.is_control() || ['\u{202e}', '\u{2028}'].contains(&c);
        assert!(!printed.contains(is_control), "{printed:?}");
        assert!(printed.contains("202e") && printed.contains('\u{fc}'), "{printed:?}");
    }
    assert_eq!(app.run_json(&["login", "list"])[0]["end_reason"], text);
}
