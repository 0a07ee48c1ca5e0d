//! The status list of the testing issuer: how tokens are revoked, and how the list is signed.

use std::{io, sync::atomic::Ordering};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{Behavior, Issuer, TokenBuilder, published::Shared};
use crate::{
    clock::Clock,
    protocol::{Status, StatusListClaims, StatusReference, Statuses},
};

/// The time until a list expires, and how long it may be cached, in seconds: as those of the real server.
const LIFETIME_S: i64 = 3600;
const TTL_S: u64 = 10;

impl TokenBuilder<'_> {
    /// Gives it a position of its own in the issuer's status list, so that [`Issuer::revoke`] can revoke it.
    pub fn revocable(self) -> Self {
        let issuer = self.issuer();
        let idx = issuer.published().list.add();
        let status = Status { status_list: StatusReference { idx, uri: issuer.status_list_uri() } };
        self.claim("status", json!(status))
    }
}

impl Issuer {
    /// Revokes a [revocable](TokenBuilder::revocable) token: its status list shows that from now on. A verifier learns of it when it fetches the list
    /// again, at most 8 s later by the issuer's clock.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use sealwright::verifier::{Error, testing::Issuer};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
    /// let issuer = Issuer::start().await?;
    /// let verifier = issuer.verifier("https://orders.example").build()?;
    /// let token = issuer.token("https://orders.example").revocable().sign()?;
    /// assert!(verifier.verify(&token).await.is_ok());
    ///
    /// issuer.revoke(&token)?;
    /// issuer.clock().advance(Duration::from_secs(8));
    /// // The list is fetched again in the background.
    /// while verifier.verify(&token).await.is_ok() {
    ///     tokio::task::yield_now().await;
    /// }
    /// assert_eq!(verifier.verify(&token).await.unwrap_err(), Error::Revoked);
    /// # Ok(()) }) }
    /// ```
    ///
    /// # Errors
    ///
    /// If the token has no position in the status list of this issuer.
    pub fn revoke(&self, token: &str) -> io::Result<()> {
        let reference = position(token).filter(|reference| reference.uri == self.status_list_uri());
        let revoked = reference.is_some_and(|reference| self.published().list.revoke(reference.idx));
        revoked.then_some(()).ok_or_else(|| io::Error::other("the token cannot be revoked: build it with `.revocable()`"))
    }

    /// The URI of its status list.
    #[must_use]
    pub fn status_list_uri(&self) -> String {
        self.shared().list_uri()
    }

    /// Its status list as it is now: a signed token, for [`Behavior::Body`], which repeats it later.
    ///
    /// # Errors
    ///
    /// If every key is withdrawn.
    pub fn status_list(&self) -> io::Result<String> {
        self.shared().signed_list()
    }

    /// Sets how it answers requests for its status list.
    pub fn answer_status_list(&self, answer: Behavior) {
        self.published().list_answer = answer;
    }

    /// The number of requests for its status list, including those without an answer.
    #[must_use]
    pub fn status_list_fetches(&self) -> u64 {
        self.shared().list_fetches.load(Ordering::SeqCst)
    }

    /// A header of the last request for its status list.
    #[must_use]
    pub fn last_status_list_request(&self, header: &str) -> Option<String> {
        self.published().last_list_request.get(&header.to_ascii_lowercase()).cloned()
    }
}

/// Where the status of a token is, by its own claims.
fn position(token: &str) -> Option<StatusReference> {
    let payload = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let mut claims: Value = serde_json::from_slice(&payload).ok()?;
    serde_json::from_value::<Status>(claims.get_mut("status")?.take()).ok().map(|status| status.status_list)
}

impl Shared {
    /// The claims of the status list.
    pub(super) fn list_claims(&self) -> io::Result<StatusListClaims> {
        let now = self.clock.now().seconds();
        let published = self.published();
        let status_list = Statuses::of_bits(published.list.bits()).encode()?;
        let (exp, epoch) = (Some(now + LIFETIME_S), Some(published.list.epoch));
        Ok(StatusListClaims { sub: self.list_uri(), iat: now, exp, ttl: Some(TTL_S), status_list, epoch })
    }

    pub(super) fn signed_list(&self) -> io::Result<String> {
        let claims = json!(self.list_claims()?).to_string();
        self.sign(self.list_header().to_string(), claims)
    }

    pub(super) fn list_header(&self) -> Value {
        json!({ "alg": "RS256", "kid": self.kid(), "typ": StatusListClaims::TYPE })
    }
}
