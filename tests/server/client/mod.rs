//! The `client` module against the running server, with a relay between them that counts requests and fails like a network.

mod keys;
mod logins;
mod requests;
mod tokens;
mod trouble;

use std::{sync::Arc, time::Duration};

use sealwright::{
    client::{Builder, Credentials, Secret, TokenSource},
    clock::ManualClock,
};

use crate::support::{Backend, Credential, ORDERS, Relay, TestApp, wait_until};

/// The server behind a relay, and the clock of the client.
struct World {
    app: TestApp,
    relay: Relay,
    shop: Credential,
    clock: ManualClock,
}

impl World {
    async fn begin(backend: Backend) -> Self {
        let relay = Relay::start().await;
        let (app, shop) = TestApp::behind(backend, &relay).await;
        let clock = ManualClock::at(app.now());
        Self { app, relay, shop, clock }
    }

    /// The builder of the app `shop`.
    fn shop(&self) -> Builder {
        self.with_secret(Secret::value(&self.shop.secret))
    }

    fn with_secret(&self, secret: Secret) -> Builder {
        self.complete(Credentials::client("shop", secret))
    }

    fn complete(&self, builder: Builder) -> Builder {
        builder.issuer(&self.relay.url).resource(ORDERS).clock(Arc::new(self.clock.clone()))
    }

    fn source(&self) -> TokenSource {
        self.shop().token_source().unwrap()
    }

    /// Advances the time of the client and of the server.
    async fn pass(&self, seconds: u64) {
        self.app.pass(Duration::from_secs(seconds)).await;
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Waits until this many token requests have arrived.
    async fn asked(&self, times: u64) {
        wait_until(|| self.relay.token_requests() >= times).await;
        assert_eq!(self.relay.token_requests(), times);
    }

    /// Waits until no fetch is in flight.
    async fn quiet(&self, source: &TokenSource) {
        wait_until(|| !source.status().fetching).await;
    }
}

async fn text(source: &TokenSource) -> String {
    source.token().await.unwrap().as_str().to_owned()
}
