//! A user's story from end to end: the server, an API that embeds the verifier, a web application that embeds the client, Redis, and a
//! browser.

use std::time::{Duration, Instant};

use chromiumoxide::cdp::browser_protocol::network::CookieSameSite;

use crate::{
    page::Seen,
    world::{ORDERS, PASSWORD, Process, World, free_port},
};

/// An answer that the browser reports as an error, although it is expected.
const FAVICON: &str = "favicon";
const STATUS_422: &str = "status of 422";
const STATUS_403: &str = "status of 403";
const STATUS_503: &str = "status of 503";

#[tokio::test]
async fn a_user_signs_in_orders_loses_a_permission_stays_signed_in_and_signs_out() {
    let world = World::begin();
    let port = free_port();
    let redis = world.redis(port);
    let web = Process::start(world.as_shop("web_login").env("REDIS_URL", format!("redis://127.0.0.1:{port}")), "web login at ");
    let origin = web.line("web login at ").unwrap().replace("web login at ", "");
    let seen = Seen::open(&origin, &world.folder.path().join("profile")).await;

    // After a wrong password, the form keeps the name and not the password.
    seen.goto("/").await;
    seen.picture("sign-in", 1200).await;
    seen.picture("sign-in", 390).await;
    seen.type_into("#username", "alice").await;
    seen.type_into("#password", "not what she chose at all").await;
    seen.press_enter_in("#password").await;
    seen.says("do not belong together").await;
    assert_eq!(seen.evaluate("document.querySelector('#username').value").await, "alice");
    assert_eq!(seen.evaluate("document.querySelector('#password').value").await, "");
    seen.no_faults_but(&[STATUS_422, FAVICON]);
    let before = session_of(&seen).await;

    // She signs in with the keyboard alone.
    seen.type_into("#password", PASSWORD).await;
    seen.press_enter_in("#password").await;
    seen.says("Signed in as alice").await;
    let session = session_of(&seen).await;
    assert!(session.is_some() && session != before, "the session id changes at sign-in, so a planted one is useless");
    let session = session.unwrap();
    assert_eq!(seen.evaluate("document.cookie").await, "", "no script can read it");
    seen.says("Nothing yet.").await;
    seen.type_into("#item", "tea & <b>biscuits</b>").await;
    seen.press_enter_in("#item").await;
    seen.says("tea & <b>biscuits</b>").await;
    // A link on another site finds her signed in, although the cookie is `Strict`.
    seen.page.goto(format!("data:text/html,<a href='{origin}/'>shop</a>")).await.unwrap();
    seen.click("a").await;
    seen.says("tea & <b>biscuits</b>").await;
    seen.picture("orders", 1200).await;
    seen.picture("orders", 390).await;
    seen.no_faults_but(&[FAVICON]);

    // Redis stops: the page reports it within two seconds. Redis starts again, and no one has to sign in again.
    drop(redis);
    let gone = Instant::now();
    seen.goto("/").await;
    assert!(gone.elapsed() < Duration::from_secs(4), "{:?}", gone.elapsed());
    assert!(!seen.text().await.contains("Signed in"), "{}", seen.text().await);
    seen.picture("redis-down", 390).await;
    seen.no_faults_but(&[STATUS_503, FAVICON]);
    let redis = world.redis(port);
    for _ in 0..100 {
        seen.goto("/").await;
        if seen.text().await.contains("Signed in as alice") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    seen.says("tea & <b>biscuits</b>").await;
    seen.no_faults_but(&[STATUS_503, FAVICON]);

    // Her permission to order is withdrawn. Her token (valid for a minute) is renewed in the background, with two racing requests; then the
    // page no longer offers to order.
    assert!(seen.has("#item").await);
    world.run(&["user", "update", "alice", "--allow", &format!("{ORDERS}=orders:read")]);
    let renewed = world.issued("refresh_token").await;
    for _ in 0..90 {
        let race = (0..4).map(|_| page_with(&origin, &session));
        let pages = futures_util::future::join_all(race).await;
        assert!(pages.iter().all(|page| page.contains("Signed in as alice")), "{pages:?}");
        if world.issued("refresh_token").await > renewed {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(world.issued("refresh_token").await, renewed + 1, "four requests that race use a refresh token once");
    // Her page is older than the change of her permissions: the API refuses, and the page says so.
    seen.type_into("#item", "one more").await;
    seen.press_enter_in("#item").await;
    seen.says("the right was withdrawn").await;
    assert!(!seen.has("#item").await);
    seen.picture("right-withdrawn", 390).await;
    seen.goto("/").await;
    seen.says("Signed in as alice").await;
    assert!(!seen.has("#item").await && !seen.text().await.contains("one more"));
    seen.no_faults_but(&[STATUS_403, FAVICON]);

    // She signs out: the login has ended at the issuer, and the session is over, also for a copy of its cookie.
    let kept = session_of(&seen).await.unwrap();
    assert!(page_with(&origin, &kept).await.contains("Signed in"));
    let ended = |lists: serde_json::Value| lists.as_array().unwrap().iter().filter(|login| login["ended_at"].is_null()).count();
    assert_eq!(ended(world.run(&["login", "list", "--user", "alice"])), 1);
    seen.click("header button").await;
    seen.says("Sign in to order").await;
    assert_eq!(ended(world.run(&["login", "list", "--user", "alice"])), 0);
    assert!(page_with(&origin, &kept).await.contains("Sign in to order"));
    seen.no_faults_but(&[FAVICON]);
    seen.close().await;

    // Neither program logged a secret.
    let secret = std::fs::read_to_string(world.secret()).unwrap();
    for said in [web.said(), world.server.said(), world.orders.said()] {
        assert!(![PASSWORD, "plum", secret.trim(), "eyJ", kept.as_str()].iter().any(|secret| said.contains(secret)), "{said}");
    }
    drop(redis);
}

/// The page for a request with this cookie.
async fn page_with(origin: &str, session: &str) -> String {
    let request = reqwest::Client::new().get(origin).header("cookie", format!("__Host-Http-web-login={session}"));
    request.send().await.unwrap().text().await.unwrap()
}

/// The session id, which only the browser knows.
async fn session_of(seen: &Seen) -> Option<String> {
    let cookies = seen.page.get_cookies().await.unwrap();
    let cookie = cookies.into_iter().find(|cookie| cookie.name == "__Host-Http-web-login")?;
    assert!(cookie.http_only && cookie.secure && cookie.same_site == Some(CookieSameSite::Strict), "{cookie:?}");
    Some(cookie.value)
}

#[tokio::test]
async fn a_form_that_another_site_sends_does_nothing() {
    let world = World::begin();
    let web = Process::start(&mut world.as_shop("web_login"), "web login at ");
    let origin = web.line("web login at ").unwrap().replace("web login at ", "");
    let http = reqwest::Client::new();
    let form = [("username", "alice"), ("password", PASSWORD)];
    for (name, value) in
        [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site")]
    {
        let answer = http.post(format!("{origin}/sign-in")).header(name, value).form(&form).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers().contains_key("set-cookie")), (403, false), "{name}: {value}");
    }
    assert_eq!(world.issued("password").await, 0);
}

#[tokio::test]
async fn a_background_job_runs_without_a_user() {
    let world = World::begin();
    let done = world.as_shop("trusted_app").output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    std::fs::write(world.secret(), "sw_wrong").unwrap();
    let refused = world.as_shop("trusted_app").output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!((refused.status.code(), said.lines().count(), said.contains("sw_wrong")), (Some(1), 1, false), "{said}");
}
