//! The published status lists, read as a verifier reads them.

use std::{collections::BTreeSet, io::Read, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use flate2::read::ZlibDecoder;
use josekit::{
    jwk::Jwk,
    jws::{self, RS256},
};
use reqwest::Method;
use serde_json::Value;

use super::{Answer, TestApp, claims_of, header_of};

const POSITIONS: usize = 1 << 20;

/// A status list that was verified with the keys of the server.
pub(crate) struct List {
    pub(crate) answer: Answer,
    pub(crate) claims: Value,
    /// The positions that are set.
    pub(crate) set: BTreeSet<u64>,
}

impl List {
    pub(crate) async fn get(app: &TestApp, uri: &str) -> Self {
        Self::read(app, app.get(app.list_path(uri)).await).await
    }

    /// Reads an answer as the draft's section 8.3 says.
    pub(crate) async fn read(app: &TestApp, answer: Answer) -> Self {
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

    pub(crate) fn etag(&self) -> &str {
        self.answer.header("etag").unwrap()
    }

    pub(crate) fn iat(&self) -> i64 {
        self.claims["iat"].as_i64().unwrap()
    }

    /// The epoch of revocations that it shows.
    pub(crate) fn epoch(&self) -> i64 {
        self.claims["sealwright_epoch"].as_i64().unwrap()
    }
}

/// The list and the position that an access token names.
pub(crate) fn position(token: &str) -> (String, u64) {
    let claims = claims_of(token);
    let Value::Object(place) = &claims["status"]["status_list"] else { panic!("no position: {claims}") };
    (place["uri"].as_str().unwrap().to_owned(), place["idx"].as_u64().unwrap())
}

impl TestApp {
    /// The path of a status list.
    pub(crate) fn list_path<'u>(&self, uri: &'u str) -> &'u str {
        uri.strip_prefix(&self.issuer).unwrap()
    }

    /// Lets the server notice changes and publish them.
    pub(crate) async fn publish(&self) {
        self.settle().await;
        self.pass(Duration::from_secs(1)).await;
    }

    /// Sets a position, as a revocation does.
    pub(crate) async fn set_position(&self, uri: &str, position: u64) {
        let (list, now) = (uri.rsplit('/').next().unwrap(), self.now().seconds());
        self.database.execute("UPDATE epochs SET n = n + 1 WHERE kind = 'revocations'").await;
        let insert = format!(
            "INSERT INTO revocations (epoch, list_id, start, width, revoked_at, expires_at)
             SELECT n, '{list}', {position}, 1, {now}, {} FROM epochs WHERE kind = 'revocations'",
            now + 86_400
        );
        self.database.execute(&insert).await;
    }

    /// Gets a document that the caller has already.
    pub(crate) async fn get_again(&self, path: &str, etag: &str) -> Answer {
        Answer::to(self.request(Method::GET, path).header("if-none-match", etag)).await
    }
}
