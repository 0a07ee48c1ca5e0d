//! `openapi.yaml` and the server: everything that is described happens. That every answer is described is checked where tests read
//! answers (`support/described.rs`), and by the generated requests of `tests/api/run`.

use std::{collections::BTreeSet, path::Path};

use reqwest::Method;
use serde_json::Value;

use crate::support::{Answer, Backend, Credential, DESCRIPTION, TestApp, TestDatabase, as_listed, on_sqlite, resolved};

on_sqlite![
    every_status_that_is_described_is_answered,
    ad10_the_description_and_its_page_are_served_or_turned_off,
    the_page_works_below_the_path_of_an_issuer,
    a_browser_that_opens_the_issuers_url_is_sent_to_the_page,
];

/// Statuses that other tests cause, because they need a broken database or a delay: 408 in `form`, 500 and 503 in `faults`.
const ELSEWHERE: [&str; 3] = ["408", "500", "503"];

async fn every_status_that_is_described_is_answered(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let mut answered: BTreeSet<(String, String)> = BTreeSet::new();
    let mut note = |path: &str, answer: &Answer| {
        answered.insert((path.to_owned(), answer.status.to_string()));
    };
    let wrong = Credential { id: shop.id.clone(), secret: "wrong".to_owned() };
    let large = format!("grant_type=client_credentials&x={}", "y".repeat(70_000));
    let endpoints = [("/oauth/token", "grant_type=client_credentials"), ("/oauth/revoke", "token=x"), ("/oauth/introspect", "token=x")];
    for (path, valid) in endpoints {
        let by = |client: &Credential, body: &str| app.form(path, body).basic_auth(&client.id, Some(&client.secret));
        note(path, &Answer::to(by(&shop, valid)).await);
        note(path, &Answer::to(by(&shop, "")).await);
        note(path, &Answer::to(by(&wrong, valid)).await);
        note(path, &Answer::to(by(&shop, &large)).await);
    }
    for _ in 0..12 {
        for (path, valid) in endpoints {
            note(path, &Answer::to(app.form(path, valid).basic_auth(&wrong.id, Some(&wrong.secret))).await);
        }
    }
    let token = app.plain_token(&shop).await.claims();
    let list = token["status"]["status_list"]["uri"].as_str().unwrap();
    for (path, item) in DESCRIPTION["paths"].as_object().unwrap() {
        let method = if item.get("post").is_some() { Method::POST } else { Method::GET };
        // On a separate connection: a connection reads what its buffer has room for.
        let fresh = reqwest::Client::new().request(method.clone(), app.url(path));
        note(path, &Answer::to(fresh.header("x-long", "y".repeat(40_000))).await);
        if method == Method::GET {
            // A path with an id is tried with one that exists, and with one that does not.
            for id in [&list[list.len() - 22..], "unknown"] {
                let requested = path.replace("{id}", id);
                let answer = app.get(&requested).await;
                note(path, &answer);
                if let Some(etag) = answer.header("etag") {
                    note(path, &Answer::to(app.request(Method::GET, &requested).header("if-none-match", etag)).await);
                }
            }
        }
    }
    let without = TestApp::start_with(TestDatabase::create(backend).await, &[("api_docs", "false")]).await;
    for path in ["/openapi.yaml", "/openapi.json", "/docs"] {
        note(path, &without.get(path).await);
    }

    for (path, item) in DESCRIPTION["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(method, _)| ["get", "post"].contains(&method.as_str())) {
            let described = operation["responses"].as_object().unwrap().keys();
            let missing: Vec<_> = described
                .filter(|status| !ELSEWHERE.contains(&status.as_str()) && !answered.contains(&(path.clone(), (*status).clone())))
                .collect();
            assert!(missing.is_empty(), "{method} {path}: described, and never answered: {missing:?} of {answered:?}");
        }
    }
}

async fn ad10_the_description_and_its_page_are_served_or_turned_off(backend: Backend) {
    let app = TestApp::start(backend).await;
    let yaml = app.get("/openapi.yaml").await;
    let json = app.get("/openapi.json").await;
    assert_eq!((yaml.body.as_str(), json.json()), (include_str!("../../openapi.yaml"), DESCRIPTION.clone()));
    assert_eq!((yaml.header("access-control-allow-origin"), json.header("access-control-allow-origin")), (Some("*"), Some("*")));
    let page = app.get("/docs").await;
    let policy = page.header("content-security-policy").unwrap();
    // Nothing is loaded from other hosts, and every script is a file of the server.
    for source in policy.split(';').filter_map(|directive| directive.trim().split_once(' ').map(|(_, sources)| sources)) {
        assert!(source.split(' ').all(|source| ["'none'", "'self'"].contains(&source)), "{policy}");
    }
    assert!(
        policy.contains("default-src 'none'")
            && policy.contains("script-src 'self';")
            && !page.body.contains("http://")
            && !page.body.contains("https://")
    );
    assert!(page.body.contains("id=\"demo\">null<"), "no credentials but a demo's stand in it");
    for file in
        ["icon.svg", "swagger-ui.css", "swagger-ui-bundle.js", "page.css", "first-token.js", "protect.js", "snippets.json", "reference.js"]
    {
        assert!(page.body.contains(&format!("docs/{file}")), "{file}");
        let answer = app.get(&format!("/docs/{file}")).await;
        assert_eq!((answer.status, answer.header("x-content-type-options")), (200, Some("nosniff")), "{file}");
        // Unchanged files are not sent again.
        let again = app.request(Method::GET, &format!("/docs/{file}")).header("if-none-match", answer.header("etag").unwrap());
        let again = Answer::to(again).await;
        assert_eq!((again.status, again.body.as_str(), again.header("cache-control")), (304, "", Some("no-cache")), "{file}");
    }
    let slash = app.get("/docs/").await;
    assert_eq!((slash.status, slash.header("location")), (308, Some("../docs")));
    app.get("/docs/page.html").await.refused(404, "invalid_request");
    for path in ["/docs/..%2fpage.html", "/docs/%ff", "/docs/page.css/"] {
        app.get(path).await.refused(404, "invalid_request");
    }

    let without = TestApp::start_with(TestDatabase::create(backend).await, &[("api_docs", "false")]).await;
    for path in ["/openapi.yaml", "/openapi.json", "/docs", "/docs/", "/docs/reference.js", "/docs/swagger-ui.css"] {
        for method in [Method::GET, Method::OPTIONS, Method::POST] {
            Answer::to(without.request(method, path)).await.refused(404, "invalid_request");
        }
    }
    without.get("/.well-known/jwks.json").await.granted();
}

async fn the_page_works_below_the_path_of_an_issuer(backend: Backend) {
    let app = TestApp::start_with(TestDatabase::create(backend).await, &[("issuer", "https://example.com/auth")]).await.with_orders();
    let shop = app.app_for_users("shop");
    assert_eq!(app.get("/auth/docs").await.status, 200);
    assert_eq!(app.get("/auth/docs/reference.js").await.status, 200);
    let described = app.get("/auth/openapi.json").await.json();
    let token_url = described["components"]["securitySchemes"]["oauth2"]["flows"]["clientCredentials"]["tokenUrl"].as_str().unwrap();
    let server = described["servers"][0]["url"].as_str().unwrap();
    assert_eq!((server, token_url), ("/auth", "/auth/oauth/token"));
    let form = app.form(token_url, "grant_type=client_credentials").basic_auth(&shop.id, Some(&shop.secret));
    Answer::to(form).await.granted();
    app.get("/docs").await.refused(404, "invalid_request");
}

async fn a_browser_that_opens_the_issuers_url_is_sent_to_the_page(backend: Backend) {
    const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let open = async |app: &TestApp, method: Method, path: &str, accept: &str| {
        Answer::to(app.request(method, path).header("accept", accept)).await
    };
    let app = TestApp::start(backend).await;
    for method in [Method::GET, Method::HEAD] {
        let answer = open(&app, method, "/", BROWSER).await;
        assert_eq!((answer.status, answer.header("location"), answer.header("vary")), (307, Some("/docs"), Some("accept")));
    }
    for (method, path, accept) in
        [(Method::GET, "/", "*/*"), (Method::GET, "/", "application/json"), (Method::POST, "/", BROWSER), (Method::GET, "/other", BROWSER)]
    {
        open(&app, method, path, accept).await.refused(404, "invalid_request");
    }
    let below = TestApp::start_with(TestDatabase::create(backend).await, &[("issuer", "https://example.com/auth")]).await;
    for path in ["/auth", "/auth/"] {
        assert_eq!(open(&below, Method::GET, path, BROWSER).await.header("location"), Some("/auth/docs"));
    }
    for path in ["/", "/authority", "/auth//"] {
        open(&below, Method::GET, path, BROWSER).await.refused(404, "invalid_request");
    }
    let without = TestApp::start_with(TestDatabase::create(backend).await, &[("api_docs", "false")]).await;
    open(&without, Method::GET, "/", BROWSER).await.refused(404, "invalid_request");
}

#[test]
fn every_error_text_of_the_description_is_in_the_sources() {
    fn read(folder: &Path, into: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            match entry.path() {
                path if path.is_dir() => read(&path, into),
                path if path.extension().is_some_and(|extension| extension == "rs") => *into += &std::fs::read_to_string(path).unwrap(),
                _ => {}
            }
        }
    }
    let mut sources = String::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/server"), &mut sources);
    let texts = DESCRIPTION["x-errors"].as_array().unwrap().iter().flat_map(|error| error["descriptions"].as_array().unwrap());
    let absent: Vec<_> = texts.map(|text| text.as_str().unwrap()).filter(|text| !sources.contains(text)).collect();
    assert!(absent.is_empty(), "no source contains these: {absent:#?}");
}

#[test]
fn every_reference_resolves_and_every_example_of_an_error_is_listed() {
    fn walk(value: &Value, errors: &mut Vec<(String, String)>) {
        resolved(value);
        if let (Some(code), Some(words)) = (value["error"].as_str(), value["error_description"].as_str()) {
            errors.push((code.to_owned(), words.to_owned()));
        }
        match value {
            Value::Object(members) => members.values().for_each(|member| walk(member, errors)),
            Value::Array(items) => items.iter().for_each(|item| walk(item, errors)),
            _ => {}
        }
    }
    let mut errors = Vec::new();
    walk(&DESCRIPTION, &mut errors);
    let catalogue = DESCRIPTION["x-errors"].as_array().unwrap();
    for (code, words) in &errors {
        let words = as_listed(words, "");
        let words = words.split(" by its id, ").next().unwrap();
        let known = |entry: &Value| {
            entry["code"] == *code && entry["descriptions"].as_array().unwrap().iter().any(|text| text.as_str().unwrap().starts_with(words))
        };
        assert!(catalogue.iter().any(known), "{code}: {words}");
    }
    assert!(errors.len() > 8, "{errors:?}");
}
