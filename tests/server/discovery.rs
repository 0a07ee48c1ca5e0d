//! The metadata, the public keys and health: RFC 8414, RFC 7517.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::Value;

use crate::support::{
    Answer, AppKey, Backend, SIGN_IN, TestApp, TestDatabase, assertion_claims, by_assertion, on_both_databases, on_sqlite,
};

on_both_databases![health_reports_liveness_and_readiness];

on_sqlite![
    jk1_the_jwks_contains_only_public_members,
    jk6_the_jwks_has_an_etag_and_a_max_age_that_shrinks_without_a_database,
    md1_the_metadata_is_at_every_path_that_libraries_try,
    md2_nothing_in_a_request_changes_the_issuer,
    md4_what_is_advertised_works_and_what_is_not_is_refused,
];

async fn jk1_the_jwks_contains_only_public_members(backend: Backend) {
    let app = TestApp::start(backend).await;
    let answer = app.get("/.well-known/jwks.json").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/jwk-set+json")));
    let jwks = answer.json();
    let keys = jwks["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 1);
    let key = keys[0].as_object().unwrap();
    let mut names: Vec<_> = key.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["alg", "e", "kid", "kty", "n", "use"]);
    assert_eq!((&key["kty"], &key["use"], &key["alg"], &key["e"]), (&"RSA".into(), &"sig".into(), &"RS256".into(), &"AQAB".into()));
    let modulus = BASE64_URL_SAFE_NO_PAD.decode(key["n"].as_str().unwrap()).unwrap();
    assert_eq!((modulus.len(), modulus[0] >= 0x80), (256, true), "2048 bits without leading zeros");
    assert_eq!(key["kid"].as_str().unwrap().len(), 43, "a SHA-256 thumbprint");
}

async fn jk6_the_jwks_has_an_etag_and_a_max_age_that_shrinks_without_a_database(backend: Backend) {
    let app = TestApp::start(backend).await;
    let first = app.get("/.well-known/jwks.json").await;
    let etag = first.header("etag").unwrap();
    assert!(etag.starts_with('"') && etag.ends_with('"'));
    assert_eq!(first.header("cache-control"), Some("public, max-age=3600"));

    let asking = |known: String| Answer::to(app.request(Method::GET, "/.well-known/jwks.json").header("if-none-match", known));
    for known in [etag.to_owned(), format!("W/{etag}"), format!("\"other\", {etag}"), "*".to_owned()] {
        let answer = asking(known.clone()).await;
        assert_eq!((answer.status, answer.body.as_str(), answer.header("etag")), (304, "", Some(etag)), "{known}");
        assert_eq!(answer.header("cache-control"), Some("public, max-age=3600"));
    }
    for other in ["\"other\"", etag.trim_matches('"'), "\"a,*,b\"", "\"other\", *", ""] {
        assert_eq!(asking(other.to_owned()).await.status, 200, "{other}");
    }
    // A Content-Length would be that of the document, which is not 0 (RFC 9110 section 8.6).
    for method in [Method::GET, Method::HEAD] {
        let answer = Answer::to(app.request(method, "/.well-known/jwks.json").header("if-none-match", etag)).await;
        assert_eq!((answer.status, answer.header("content-length"), answer.header("transfer-encoding")), (304, None, None));
    }

    // Without the database, this node may be missing a revocation after a minute, and a key that signs after 24 h (the lead) minus twice the
    // skew of 60 s.
    app.settle().await;
    app.database.execute("ALTER TABLE epochs RENAME TO epochs_gone").await;
    let max_age = async || {
        let answer = app.get("/.well-known/jwks.json").await;
        let value = answer.header("cache-control").unwrap().strip_prefix("public, max-age=").unwrap().to_owned();
        value.parse::<u64>().unwrap()
    };
    let lead = 24 * 3600 - 2 * 60;
    app.clock.advance(Duration::from_secs(60));
    assert_eq!(max_age().await, 3600);
    app.clock.advance(Duration::from_secs(lead - 100));
    assert_eq!(max_age().await, 40);
    app.clock.advance(Duration::from_secs(40));
    assert_eq!(max_age().await, 0);
    assert_eq!(app.get("/health/ready").await.status, 503);
    app.clock.advance(Duration::from_secs(3500));
    assert_eq!(max_age().await, 0);
}

async fn md1_the_metadata_is_at_every_path_that_libraries_try(backend: Backend) {
    let app = TestApp::start(backend).await;
    let document = app.get("/.well-known/oauth-authorization-server").await;
    assert_eq!((document.status, document.header("content-type")), (200, Some("application/json")));
    assert_eq!(app.get("/.well-known/openid-configuration").await.body, document.body);
    let fields = document.json();
    let fields = fields.as_object().unwrap();
    assert!(fields.values().all(|value| value.as_array().is_none_or(|array| !array.is_empty())), "{fields:?}");
    // All MCP clients refuse metadata without the second, and the one in TypeScript without the first.
    assert_eq!(fields["response_types_supported"], serde_json::json!(["none"]));
    assert!(fields["authorization_endpoint"].as_str().unwrap().ends_with("/oauth/authorize"));
    assert!(!fields.contains_key("code_challenge_methods_supported"), "there is no authorization code to protect");
    assert_eq!(fields["subject_types_supported"], serde_json::json!(["public"]));
    app.stop().await;

    let issuer = "https://example.com/tenants/one";
    let app = TestApp::start_with(TestDatabase::create(backend).await, &[("issuer", issuer)]).await;
    let inserted = app.get("/.well-known/oauth-authorization-server/tenants/one").await;
    assert_eq!((inserted.status, inserted.json()["issuer"].as_str()), (200, Some(issuer)));
    for appended in ["/tenants/one/.well-known/oauth-authorization-server", "/tenants/one/.well-known/openid-configuration"] {
        let answer = app.get(appended).await;
        assert_eq!((answer.status, &answer.body), (200, &inserted.body), "{appended}");
    }
    assert_eq!(inserted.json()["token_endpoint"], "https://example.com/tenants/one/oauth/token");
    assert_eq!(inserted.json()["jwks_uri"], "https://example.com/tenants/one/.well-known/jwks.json");
    for below in ["/tenants/one/.well-known/jwks.json", "/tenants/one/health/live", "/tenants/one/health/ready"] {
        assert_eq!(app.get(below).await.status, 200, "{below}");
    }
    for above in [
        "/.well-known/jwks.json",
        "/oauth/token",
        "/health/live",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
    ] {
        assert_eq!(app.get(above).await.status, 404, "{above}");
    }
}

async fn md2_nothing_in_a_request_changes_the_issuer(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let plain = app.get("/.well-known/oauth-authorization-server").await;
    let lies = [
        ("host", "evil.example"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-prefix", "/evil"),
        ("forwarded", "host=evil.example;proto=https"),
        ("x-original-url", "/evil"),
    ];
    for (name, lie) in lies {
        for path in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"] {
            let answer = Answer::to(app.request(Method::GET, path).header(name, lie)).await;
            assert_eq!((answer.status, &answer.body), (200, &plain.body), "{name}");
        }
        let request = app.token_request("grant_type=client_credentials").basic_auth(&client.id, Some(&client.secret));
        assert_eq!(Answer::to(request.header(name, lie)).await.claims()["iss"], app.issuer);
    }
}

async fn md4_what_is_advertised_works_and_what_is_not_is_refused(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.app_for_users("billing");
    app.user("alice");
    let metadata = app.get("/.well-known/oauth-authorization-server").await.json();
    let mut names: Vec<_> = metadata.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    let known = [
        "authorization_endpoint",
        "grant_types_supported",
        "id_token_signing_alg_values_supported",
        "introspection_endpoint",
        "introspection_endpoint_auth_methods_supported",
        "introspection_endpoint_auth_signing_alg_values_supported",
        "issuer",
        "jwks_uri",
        "response_types_supported",
        "revocation_endpoint",
        "revocation_endpoint_auth_methods_supported",
        "revocation_endpoint_auth_signing_alg_values_supported",
        "status_list_aggregation_endpoint",
        "subject_types_supported",
        "token_endpoint",
        "token_endpoint_auth_methods_supported",
        "token_endpoint_auth_signing_alg_values_supported",
    ];
    assert_eq!(names, known, "test each newly advertised value here");

    let path = |name: &str| metadata[name].as_str().unwrap().strip_prefix(&app.issuer).unwrap().to_owned();
    assert_eq!(path("token_endpoint"), "/oauth/token");
    assert_eq!(app.get(&path("jwks_uri")).await.status, 200);
    assert_eq!(app.get(&path("status_list_aggregation_endpoint")).await.status, 200);
    refuses_every_authorization_request(&app, &path("authorization_endpoint")).await;
    for unadvertised in ["/oauth/register", "/userinfo", "/oauth/device_authorization"] {
        app.get(unadvertised).await.refused(404, "invalid_request");
        Answer::to(app.request(Method::POST, unadvertised)).await.refused(404, "invalid_request");
    }

    // Each signs (`access_token::ky4_...`).
    assert_eq!(metadata["id_token_signing_alg_values_supported"], serde_json::json!(["RS256", "PS256", "ES256", "Ed25519"]));
    let words = |name: &str| metadata[name].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let grants = words("grant_types_supported");
    assert_eq!(grants, ["client_credentials", "password", "refresh_token"]);
    let mut refresh_token = String::new();
    for grant in &grants {
        let answer = app.token(&client, &format!("grant_type={grant}&{SIGN_IN}&refresh_token={refresh_token}")).await.granted();
        answer["refresh_token"].as_str().unwrap_or_default().clone_into(&mut refresh_token);
    }
    let revoked =
        Answer::to(app.form(&path("revocation_endpoint"), &format!("token={refresh_token}")).basic_auth(&client.id, Some(&client.secret)));
    assert_eq!(revoked.await.status, 200);
    let introspected = Answer::to(app.form(&path("introspection_endpoint"), "token=x").basic_auth(&client.id, Some(&client.secret)));
    assert_eq!(introspected.await.body, r#"{"active":false}"#);
    let unadvertised = [
        "authorization_code",
        "implicit",
        "urn:ietf:params:oauth:grant-type:device_code",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "urn:ietf:params:oauth:grant-type:token-exchange",
    ];
    for grant in unadvertised {
        app.token(&client, &format!("grant_type={grant}&{SIGN_IN}&code=c&refresh_token=d")).await.refused(400, "unsupported_grant_type");
    }

    for endpoint in ["revocation", "introspection"] {
        for what in ["methods", "signing_alg_values"] {
            let of_token = words(&format!("token_endpoint_auth_{what}_supported"));
            assert_eq!(words(&format!("{endpoint}_endpoint_auth_{what}_supported")), of_token);
        }
    }
    assert_eq!(words("token_endpoint_auth_methods_supported"), ["client_secret_basic", "client_secret_post", "private_key_jwt"]);
    assert_eq!(words("token_endpoint_auth_signing_alg_values_supported"), ["RS256", "PS256", "ES256", "Ed25519", "EdDSA"]);
    for algorithm in ["RS256", "PS256", "ES256", "Ed25519"] {
        let (key, id) = (AppKey::new(algorithm), algorithm.to_lowercase());
        app.database.client_with_key(&id, key.public(), |_| ());
        let assertion = key.assertion(&assertion_claims(&id, &app.issuer, app.now().seconds(), "1"));
        Answer::to(app.token_request(&format!("grant_type=client_credentials&{}", by_assertion(&assertion)))).await.granted();
    }
    app.plain_token(&client).await.granted();
    let by_body = format!("grant_type=client_credentials&client_id={}&client_secret={}", client.id, client.secret);
    Answer::to(app.token_request(&by_body)).await.granted();
    let by_assertion = "grant_type=client_credentials&client_id=billing&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer&client_assertion=a.b.c";
    Answer::to(app.token_request(by_assertion)).await.refused(401, "invalid_client");
    Answer::to(app.token_request("grant_type=client_credentials&client_id=billing")).await.refused(401, "invalid_client");
}

/// The endpoint refuses every response type, also `none`, and never redirects: an open redirect needs only one request that it believes.
async fn refuses_every_authorization_request(app: &TestApp, path: &str) {
    let elsewhere = "client_id=billing&redirect_uri=https%3A%2F%2Fevil.example%2Fback&state=%3Cscript%3E";
    let page = app.get(path).await;
    for response_type in ["code", "token", "none", "none&prompt=none", "code&response_mode=form_post", "code%20id_token", ""] {
        let answer = app.get(&format!("{path}?response_type={response_type}&{elsewhere}")).await;
        assert_eq!(answer.status, 400, "{response_type}");
        assert_eq!(answer.body, page.body, "nothing of the request is in the page");
        for header in ["location", "refresh", "link", "set-cookie"] {
            assert_eq!(answer.header(header), None, "{response_type}: {header}");
        }
    }
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    assert!(page.body.contains("<code>unsupported_response_type</code>"), "{}", page.body);
    let head = Answer::to(app.request(Method::HEAD, path)).await;
    assert_eq!((head.status, head.body.as_str()), (400, ""));
    assert_eq!(head.header("content-length"), page.header("content-length"));
    Answer::to(app.form(path, "response_type=code")).await.refused(405, "invalid_request");
}

async fn health_reports_liveness_and_readiness(backend: Backend) {
    let app = TestApp::start(backend).await;
    let status = |answer: &Answer| answer.json()["status"].as_str().map(str::to_owned);
    let (live, ready) = (app.get("/health/live").await, app.get("/health/ready").await);
    assert_eq!((live.status, status(&live).as_deref()), (200, Some("live")));
    assert_eq!((ready.status, status(&ready).as_deref()), (200, Some("ready")));

    app.settle().await;
    app.database.execute("ALTER TABLE epochs RENAME TO epochs_gone").await;
    app.clock.advance(Duration::from_secs(11));
    let ready = app.get("/health/ready").await;
    assert_eq!(ready.status, 503);
    let because: Vec<Value> = ready.json()["reasons"].as_array().unwrap().clone();
    assert_eq!(because, ["the database has been unreachable for too long"]);
    assert_eq!(app.get("/health/live").await.status, 200);

    app.database.execute("ALTER TABLE epochs_gone RENAME TO epochs").await;
    app.settle().await;
    assert_eq!(app.get("/health/ready").await.status, 200);
}
