//! Sends a request to the origin of its route, with a token.

use std::sync::Arc;

use axum::{body::Body, extract::Request, http::request::Parts, response::Response};
use http::header;

use super::{failure::Failure, meters::Meters, repeatable::Repeatable};
use crate::{
    client::{AccessToken, TokenSource, refuses_the_token},
    proxy::{ForwardError, Forwarder},
    server::process::{discard, keep_without_length},
};

/// The origin of a route, and the source of the tokens for it.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) route: usize,
    pub(super) forwarder: Forwarder,
    pub(super) source: TokenSource,
    pub(super) meters: Arc<Meters>,
}

impl Destination {
    /// The answer of the origin. If it refuses the token, the request is sent once more with another one, if there is one by then and the
    /// body can be sent again. Otherwise the app gets the refusal, and later requests get another token as soon as it has arrived: the refused
    /// one stays in use until then, because the issuer may be down and the origin wrong.
    ///
    /// A redirect is an answer like any other. It is not followed, so the token goes nowhere else.
    pub(super) async fn send(&self, parts: Parts, body: Body) -> Result<Response, Failure> {
        let token = match self.source.token().await {
            Ok(token) => token,
            Err(error) => {
                discard(body, &parts).await;
                return Err(Failure::no_token(&error));
            }
        };
        let (body, repeatable) = Repeatable::new(body);
        let response = match self.forward(parts.clone(), body, &token).await {
            Ok(response) => response,
            Err(error) => {
                discard(repeatable.rest(), &parts).await;
                return Err(error.into());
            }
        };
        if !refuses_the_token(&response) {
            return Ok(response);
        }
        if !repeatable.is_kept() {
            self.source.renew(&token);
            self.meters.count_refused_token(self.route, "too_long");
            return Ok(response);
        }
        // A source that only continues a login fails here; this one begins another.
        let Ok(Some(other)) = self.source.replace(&token).await else {
            self.meters.count_refused_token(self.route, "no_other_token");
            return Ok(response);
        };
        // Not before: the answer would be cut off with the request, if that is still being sent.
        let Some(body) = repeatable.again() else {
            self.meters.count_refused_token(self.route, "too_long");
            return Ok(response);
        };
        drop(response);
        tracing::info!(route = self.route, "the origin refused the token; the request is sent again with another one");
        let response = self.forward(parts, body, &other).await?;
        let outcome = if refuses_the_token(&response) { "refused_again" } else { "repeated" };
        self.meters.count_refused_token(self.route, outcome);
        Ok(response)
    }

    async fn forward(&self, mut parts: Parts, body: Body, token: &AccessToken) -> Result<Response, ForwardError> {
        // Replaces what the app sent, if that is allowed.
        parts.headers.insert(header::AUTHORIZATION, token.header());
        let mut answer = self.forwarder.forward(Request::from_parts(parts, body)).await?;
        keep_without_length(&mut answer);
        Ok(answer)
    }
}
