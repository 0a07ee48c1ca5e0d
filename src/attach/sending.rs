//! Sends a request to the origin of its route, with a token.

use std::sync::Arc;

use axum::{body::Body, extract::Request, http::request::Parts, response::Response};
use http::header;
use tokio::sync::Semaphore;

use super::{failure::Failure, meters::Meters, repeatable::Repeatable};
use crate::{
    client::{AccessToken, RefusedToken, TokenSource},
    proxy::{ForwardError, Forwarder},
    server::process::keep_without_length,
};

/// The origin of a route, and the source of the tokens for it.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) route: usize,
    pub(super) upstream: Upstream,
    pub(super) source: TokenSource,
    pub(super) meters: Arc<Meters>,
}

/// An origin. Clones share its connections and its limit.
#[derive(Debug, Clone)]
pub(super) struct Upstream {
    forwarder: Forwarder,
    /// Limits the requests that have no answer yet, among them those that wait for a token: each holds what has arrived of its body.
    unanswered: Arc<Semaphore>,
}

impl Upstream {
    pub(super) fn new(forwarder: Forwarder, concurrent: usize) -> Self {
        Self { forwarder, unanswered: Arc::new(Semaphore::new(concurrent)) }
    }
}

impl Destination {
    /// The answer of the origin. If it refuses the token, the request is sent once more with another one, if there is one by then and the
    /// request can be repeated. Otherwise the app gets the refusal, and later requests get another token as soon as it has arrived: the refused
    /// one stays in use until then, because the issuer may be down and the origin wrong.
    ///
    /// A redirect is an answer like any other. It is not followed, so the token goes nowhere else.
    pub(super) async fn send(&self, parts: Parts, body: Body) -> Result<Response, Failure> {
        let (body, repeatable) = Repeatable::new(body);
        let _unanswered = self.upstream.unanswered.try_acquire().map_err(|_| ForwardError::Full)?;
        let token = self.source.token().await.map_err(|error| Failure::no_token(&error))?;
        let response = self.forward(&parts, body, &token).await?;
        let Some(refused) = RefusedToken::of(response.status(), response.headers()) else { return Ok(response) };
        let count = |outcome| self.meters.count_refused_token(self.route, outcome);
        if !refused.permits_repeating(&parts.method) {
            self.source.renew(&token);
            count("not_idempotent");
            return Ok(response);
        }
        let Some(body) = repeatable.again() else {
            self.source.renew(&token);
            count("body_not_kept");
            return Ok(response);
        };
        let Ok(Some(other)) = self.source.replace(&token).await else {
            count("no_other_token");
            return Ok(response);
        };
        drop(response);
        tracing::info!(route = self.route, "the origin refused the token; the request is sent again with another one");
        let second = self.forward(&parts, body, &other).await;
        count(match &second {
            Ok(response) if RefusedToken::of(response.status(), response.headers()).is_some() => "refused_again",
            Ok(_) => "repeated",
            Err(_) => "failed",
        });
        Ok(second?)
    }

    async fn forward(&self, parts: &Parts, body: Body, token: &AccessToken) -> Result<Response, ForwardError> {
        let mut parts = parts.clone();
        // Replaces what the app sent, if that is allowed.
        parts.headers.insert(header::AUTHORIZATION, token.header());
        let mut answer = self.upstream.forwarder.forward(Request::from_parts(parts, body)).await?;
        keep_without_length(&mut answer);
        Ok(answer)
    }
}
