//! The signing keys of a server, as verifiers see them.

use super::{Credential, TestApp, header_of};

/// The kids of the JWKS.
pub(crate) async fn kids(app: &TestApp) -> Vec<String> {
    let jwks = app.get("/.well-known/jwks.json").await.json();
    jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// The kid of the key that signs.
pub(crate) async fn signing(app: &TestApp, client: &Credential) -> String {
    let token = app.plain_token(client).await.granted();
    header_of(token["access_token"].as_str().unwrap())["kid"].as_str().unwrap().to_owned()
}
