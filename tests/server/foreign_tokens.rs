//! A client presents the refresh token of another client.

use crate::support::{Answer, Backend, Process, SIGN_IN, TestDatabase, furnish, on_sqlite};

on_sqlite![rt7_the_use_of_a_token_of_another_client_is_logged_as_a_warning];

async fn rt7_the_use_of_a_token_of_another_client_is_logged_as_a_warning(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let mut server = Process::serve(&database);
    let base = format!("http://{}", server.addr().await);
    let secret = furnish(&database);
    let other = database.client("other", &["refresh_token"], "orders:read").secret;
    let http = reqwest::Client::new();
    let ask = async |path: &str, client: &str, secret: &str, body: String| {
        let request = http.post(format!("{base}{path}")).basic_auth(client, Some(secret));
        Answer::to(request.header("content-type", "application/x-www-form-urlencoded").body(body)).await
    };
    let token = ask("/oauth/token", "shop", &secret, format!("grant_type=password&{SIGN_IN}")).await.refresh_token();
    let refresh = format!("grant_type=refresh_token&refresh_token={token}");
    ask("/oauth/token", "other", &other, refresh.clone()).await.refused(400, "invalid_grant");
    ask("/oauth/revoke", "other", &other, format!("token={token}")).await.refused(400, "invalid_grant");
    ask("/oauth/token", "shop", &secret, refresh).await.granted();
    server.signal("TERM");
    assert!(server.wait().success());
    let warnings: Vec<_> = server.stderr().into_iter().filter(|line| line.contains("\"event\":\"refresh_token.foreign\"")).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    let login = token.strip_prefix("swr_").unwrap().split('.').next().unwrap();
    for warning in warnings {
        let said = ["\"level\":\"WARN\"", "\"client.id\":\"other\"", "\"login.client\":\"shop\"", login];
        assert!(said.iter().all(|said| warning.contains(said)) && !warning.contains(&token), "{warning}");
    }
}
