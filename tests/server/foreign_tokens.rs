//! A client that presents the refresh token belongs to another client.

use crate::support::{Answer, Backend, Process, SIGN_IN, TestDatabase, furnish, on_both_databases, sealwright};

on_both_databases![rt7_the_token_of_another_client_raises_an_alarm];

async fn rt7_the_token_of_another_client_raises_an_alarm(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let mut server = Process::serve(&database);
    let base = format!("http://{}", server.addr().await);
    let secret = furnish(&database);
    let grants = ["--grant", "refresh_token", "--allow", "https://orders.example=orders:read", "--json"];
    let other = sealwright(&database, &[&["client", "create", "other"], &grants[..]].concat()).json();
    let other = other["secret"]["value"].as_str().unwrap().to_owned();
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
    let alarms: Vec<_> = server.stderr().into_iter().filter(|line| line.contains("\"event\":\"refresh_token.foreign\"")).collect();
    assert_eq!(alarms.len(), 2, "{alarms:?}");
    let login = token.strip_prefix("swr_").unwrap().split('.').next().unwrap();
    for alarm in alarms {
        let said = ["\"level\":\"WARN\"", "\"client.id\":\"other\"", "\"login.client\":\"shop\"", login];
        assert!(said.iter().all(|said| alarm.contains(said)) && !alarm.contains(&token), "{alarm}");
    }
}
