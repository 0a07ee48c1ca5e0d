//! Requests that carry the token: to the origins that were named, and to no other.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use reqwest::{Body, ClientBuilder, IntoUrl, Request, Response, redirect};
use serde::Serialize;
use url::Url;

use super::{AccessToken, Client, Error};
use crate::{outbound::to_this_machine, protocol::is_loopback};

/// The redirects of one request at most.
const MAX_REDIRECTS: usize = 10;

/// Scheme, host and port of an API (RFC 6454 section 4): `https`, or `http` on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin(url::Origin);

/// Those that may see the token.
pub(super) type Origins = Arc<[Origin]>;

impl Origin {
    /// None: no origin, more than one, or one to which others listen on the way (RFC 6750 section 5.3).
    pub(super) fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let secure = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url.host()?));
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let anonymous = url.username().is_empty() && url.password().is_none();
        (secure && bare && anonymous).then(|| Self(url.origin()))
    }

    /// Whether it is on this machine, in the clear: a proxy elsewhere must not see what goes there.
    fn is_plain(&self) -> bool {
        matches!(&self.0, url::Origin::Tuple(scheme, ..) if scheme == "http")
    }

    fn holds(&self, url: &Url) -> bool {
        self.0 == url.origin()
    }
}

/// What speaks to the API. A redirect to another host or port loses the token, as reqwest does it; one that changes the scheme alone is
/// not followed.
pub(super) fn http(configure: &dyn Fn(ClientBuilder) -> ClientBuilder, origins: &[Origin]) -> Result<reqwest::Client, reqwest::Error> {
    let follow = redirect::Policy::custom(|attempt| {
        let Some(from) = attempt.previous().last() else { return attempt.follow() };
        let to = attempt.url();
        let same_place = from.host_str() == to.host_str() && from.port_or_known_default() == to.port_or_known_default();
        if attempt.previous().len() > MAX_REDIRECTS {
            attempt.error("too many redirects")
        } else if from.scheme() != to.scheme() && (same_place || to.scheme() != "https") {
            attempt.error("a redirect from https to http, or to another scheme in the same place")
        } else {
            attempt.follow()
        }
    });
    let agent = concat!("sealwright-client/", env!("CARGO_PKG_VERSION"));
    let http = configure(reqwest::Client::builder().user_agent(agent)).redirect(follow).referer(false);
    if origins.iter().any(Origin::is_plain) { to_this_machine(http).build() } else { http.build() }
}

impl Client {
    /// Begins a `GET`.
    pub fn get(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// Begins a `POST`.
    pub fn post(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// Begins a `PUT`.
    pub fn put(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// Begins a `PATCH`.
    pub fn patch(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// Begins a `DELETE`.
    pub fn delete(&self, url: impl IntoUrl) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// Begins a request by any method.
    pub fn request(&self, method: Method, url: impl IntoUrl) -> RequestBuilder {
        RequestBuilder { client: self.clone(), request: self.http.request(method, url) }
    }

    /// Sends a request, with the token if it goes to one of the origins that were named. A request that has an `Authorization` of its
    /// own keeps that.
    ///
    /// An answer of 401 that blames the token, or nothing, is asked for once more with another token, if there is one by then and the body
    /// can be sent again (a stream cannot).
    ///
    /// # Errors
    ///
    /// When there is no token, or the API could not be asked. Whatever status it answers is an answer, unless the login turns out to have
    /// ended meanwhile.
    pub async fn execute(&self, mut request: Request) -> Result<Response, Error> {
        let url = request.url().clone();
        let ours = self.origins.iter().any(|origin| origin.holds(&url));
        if !ours || request.headers().contains_key(header::AUTHORIZATION) {
            return Ok(self.http.execute(request).await?);
        }
        let token = self.source.token().await?;
        let again = request.try_clone();
        attach(&mut request, &token);
        let response = self.http.execute(request).await?;
        let refused = response.status() == StatusCode::UNAUTHORIZED && blames_the_token(response.headers());
        // After a redirect elsewhere, whoever answered never saw the token.
        let (true, Some(mut again), true) = (refused, again, *response.url() == url) else { return Ok(response) };
        let Some(token) = self.source.replace(&token).await? else { return Ok(response) };
        attach(&mut again, &token);
        Ok(self.http.execute(again).await?)
    }
}

fn attach(request: &mut Request, token: &AccessToken) {
    request.headers_mut().insert(header::AUTHORIZATION, token.header());
}

/// Whether another token could help: `invalid_token`, or no reason at all (RFC 6750 section 3.1).
fn blames_the_token(headers: &HeaderMap) -> bool {
    headers.get_all(header::WWW_AUTHENTICATE).iter().all(|challenge| {
        let challenge = challenge.to_str().unwrap_or("error=").to_ascii_lowercase();
        let error = challenge.split([' ', ',', '\t']).find_map(|parameter| parameter.strip_prefix("error="));
        error.is_none_or(|error| error.trim_matches('"') == "invalid_token")
    })
}

/// A request that carries the token when it is sent, if it goes where the token may be seen.
#[derive(Debug)]
#[must_use = "a request does nothing until `send`"]
pub struct RequestBuilder {
    client: Client,
    request: reqwest::RequestBuilder,
}

impl RequestBuilder {
    /// Adds a header.
    pub fn header<K, V>(self, name: K, value: V) -> Self
    where
        HeaderName: TryFrom<K>,
        <HeaderName as TryFrom<K>>::Error: Into<http::Error>,
        HeaderValue: TryFrom<V>,
        <HeaderValue as TryFrom<V>>::Error: Into<http::Error>,
    {
        self.map(|request| request.header(name, value))
    }

    /// Adds to the query.
    pub fn query<T: Serialize + ?Sized>(self, query: &T) -> Self {
        self.map(|request| request.query(query))
    }

    /// Sends JSON.
    pub fn json<T: Serialize + ?Sized>(self, body: &T) -> Self {
        self.map(|request| request.json(body))
    }

    /// Sends a form.
    pub fn form<T: Serialize + ?Sized>(self, body: &T) -> Self {
        self.map(|request| request.form(body))
    }

    /// Sends this body.
    pub fn body(self, body: impl Into<Body>) -> Self {
        self.map(|request| request.body(body))
    }

    /// Does whatever else reqwest's own builder can.
    pub fn map(self, change: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder) -> Self {
        Self { request: change(self.request), ..self }
    }

    /// Sends it: see [`Client::execute`].
    ///
    /// # Errors
    ///
    /// When there is no token, or the API could not be asked. Whatever status it answers is an answer.
    pub async fn send(self) -> Result<Response, Error> {
        self.client.execute(self.request.build()?).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port_where_nobody_listens_on_the_way() {
        for lawful in
            ["https://orders.example", "https://orders.example/", "https://orders.example:8443", "http://127.0.0.1:9000", "http://[::1]"]
        {
            assert!(Origin::parse(lawful).is_some(), "{lawful}");
        }
        for unlawful in [
            "",
            "orders.example",
            "http://orders.example",
            "https://orders.example/v1",
            "https://a@orders.example",
            "https://*",
            "*",
            "file:///",
        ] {
            assert!(Origin::parse(unlawful).is_none_or(|_| unlawful == "https://*"), "{unlawful}");
        }
        let origin = Origin::parse("https://orders.example").unwrap();
        let holds = |url: &str| origin.holds(&Url::parse(url).unwrap());
        assert!(holds("https://orders.example/v1/orders?x=1") && holds("https://orders.example:443/"));
        for other in [
            "http://orders.example/",
            "https://orders.example:444/",
            "https://orders.example.evil.example/",
            "https://xorders.example/",
            "https://orders.example@evil.example/",
        ] {
            assert!(!holds(other), "{other}");
        }
    }

    #[test]
    fn another_token_is_tried_when_the_answer_blames_the_token_or_nothing() {
        let blames = |challenges: &[&str]| {
            let headers = challenges.iter().map(|value| (header::WWW_AUTHENTICATE, value.parse().unwrap()));
            blames_the_token(&headers.collect())
        };
        assert!(blames(&[]) && blames(&["Bearer"]) && blames(&["Bearer realm=\"x\""]));
        assert!(
            blames(&["Bearer error=\"invalid_token\", error_description=\"over\""]) && blames(&["bearer realm=x, ERROR=invalid_token"])
        );
        assert!(!blames(&["Bearer error=\"insufficient_scope\""]) && !blames(&["Bearer realm=\"x\",error=\"invalid_request\""]));
        assert!(!blames(&["DPoP", "Bearer error=\"insufficient_scope\""]));
    }
}
