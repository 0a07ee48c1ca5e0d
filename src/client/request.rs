//! Requests that carry the token.

use http::{HeaderName, HeaderValue, Method, header};
use reqwest::{Body, ClientBuilder, IntoUrl, Request, Response, redirect};
use serde::Serialize;

use super::{AccessToken, Error, origins::Origins, refused_token::RefusedToken, token_source::TokenSource};
use crate::outbound::for_loopback;

/// Maximum number of redirects of one request.
const MAX_REDIRECTS: usize = 10;

/// Builds the HTTP client for the API. A redirect to another host or port drops the token, as reqwest does; one that changes only the scheme is
/// not followed.
pub(super) fn http_client(
    configure: &dyn Fn(ClientBuilder) -> ClientBuilder,
    origins: &Origins,
) -> Result<reqwest::Client, reqwest::Error> {
    let follow = redirect::Policy::custom(|attempt| {
        let Some(from) = attempt.previous().last() else { return attempt.follow() };
        let to = attempt.url();
        let same_place = from.host_str() == to.host_str() && from.port_or_known_default() == to.port_or_known_default();
        if attempt.previous().len() > MAX_REDIRECTS {
            attempt.error("too many redirects")
        } else if from.scheme() != to.scheme() && (same_place || to.scheme() != "https") {
            attempt.error("a redirect from https to http, or to another scheme on the same host")
        } else {
            attempt.follow()
        }
    });
    let agent = concat!("sealwright-client/", env!("CARGO_PKG_VERSION"));
    let http = configure(reqwest::Client::builder().user_agent(agent)).redirect(follow).referer(false);
    if origins.any_plain() { for_loopback(http).build() } else { http.build() }
}

/// Sends requests, and attaches the token to those that go to one of the origins.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    pub(super) source: TokenSource,
    pub(super) http: reqwest::Client,
    pub(super) origins: Origins,
}

impl Sender {
    pub(super) fn request(&self, method: Method, url: impl IntoUrl) -> RequestBuilder {
        RequestBuilder { sender: self.clone(), request: self.http.request(method, url) }
    }

    pub(super) async fn execute(&self, mut request: Request) -> Result<Response, Error> {
        let url = request.url().clone();
        if request.headers().contains_key(header::AUTHORIZATION) || !self.origins.allow(&url) {
            return Ok(self.http.execute(request).await?);
        }
        let token = self.source.token().await?;
        let (method, copy) = (request.method().clone(), request.try_clone());
        attach(&mut request, &token);
        let response = self.http.execute(request).await?;
        // After a redirect to another URL, the server that answered may not have received the token.
        let refused = RefusedToken::of(response.status(), response.headers()).filter(|_| *response.url() == url);
        let Some(refused) = refused else { return Ok(response) };
        // Also if this request is not repeated: the next one needs another token. A login is renewed now or never, because the application
        // stores its tokens after the request.
        let Some(token) = self.source.replace(&token).await? else { return Ok(response) };
        let Some(mut again) = copy.filter(|_| refused.permits_repeating(&method)) else { return Ok(response) };
        attach(&mut again, &token);
        Ok(self.http.execute(again).await?)
    }
}

fn attach(request: &mut Request, token: &AccessToken) {
    request.headers_mut().insert(header::AUTHORIZATION, token.header());
}

/// The request methods of a type with a field `sender`.
macro_rules! request_methods {
    () => {
        /// Begins a `GET` request.
        pub fn get(&self, url: impl IntoUrl) -> RequestBuilder {
            self.request(Method::GET, url)
        }

        /// Begins a `POST` request.
        pub fn post(&self, url: impl IntoUrl) -> RequestBuilder {
            self.request(Method::POST, url)
        }

        /// Begins a `PUT` request.
        pub fn put(&self, url: impl IntoUrl) -> RequestBuilder {
            self.request(Method::PUT, url)
        }

        /// Begins a `PATCH` request.
        pub fn patch(&self, url: impl IntoUrl) -> RequestBuilder {
            self.request(Method::PATCH, url)
        }

        /// Begins a `DELETE` request.
        pub fn delete(&self, url: impl IntoUrl) -> RequestBuilder {
            self.request(Method::DELETE, url)
        }

        /// Begins a request with any method.
        pub fn request(&self, method: Method, url: impl IntoUrl) -> RequestBuilder {
            self.sender.request(method, url)
        }

        /// Sends a request, with the token if it goes to one of the origins of [`attach_to`](super::Builder::attach_to). The first request to each
        /// other origin is logged as a warning. A request with an `Authorization` header of its own keeps it.
        ///
        /// If the answer is a 401 that says `invalid_token`, the request is sent once more with another token, if there is one by then and the body
        /// can be sent again (a stream cannot). After a 401 that gives no reason, that is done only with an idempotent method (RFC 9110 section
        /// 9.2.2), and not with POST and PATCH: the request may have had an effect. Another token is fetched in any case.
        ///
        /// # Errors
        ///
        /// If there is no token, or the request fails. An answer with an error status is not an error, unless the login has ended meanwhile.
        pub async fn execute(&self, request: Request) -> Result<Response, Error> {
            self.sender.execute(request).await
        }

        /// The source of the tokens, for requests that are sent by other means.
        #[must_use]
        pub fn token_source(&self) -> TokenSource {
            self.sender.source.clone()
        }

        /// The state of the token source. Does not wait and fetches nothing.
        #[must_use]
        pub fn status(&self) -> Status {
            self.sender.source.status()
        }
    };
}
pub(super) use request_methods;

/// A request that carries the token, if it goes to an origin that may receive it.
#[derive(Debug)]
#[must_use = "a request does nothing until `send`"]
pub struct RequestBuilder {
    sender: Sender,
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

    /// Adds parameters to the query.
    pub fn query<T: Serialize + ?Sized>(self, query: &T) -> Self {
        self.map(|request| request.query(query))
    }

    /// Sets a JSON body.
    pub fn json<T: Serialize + ?Sized>(self, body: &T) -> Self {
        self.map(|request| request.json(body))
    }

    /// Sets a form as the body.
    pub fn form<T: Serialize + ?Sized>(self, body: &T) -> Self {
        self.map(|request| request.form(body))
    }

    /// Sets the body.
    pub fn body(self, body: impl Into<Body>) -> Self {
        self.map(|request| request.body(body))
    }

    /// Applies any other method of reqwest's request builder.
    pub fn map(self, change: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder) -> Self {
        Self { request: change(self.request), ..self }
    }

    /// Sends the request: see [`Client::execute`](super::Client::execute).
    ///
    /// # Errors
    ///
    /// If there is no token, or the request fails. An answer with an error status is not an error.
    pub async fn send(self) -> Result<Response, Error> {
        self.sender.execute(self.request.build()?).await
    }
}
