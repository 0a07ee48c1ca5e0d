//! A tower layer that admits only requests with a valid token, for any framework.

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, Request, Response, header};
use tower_layer::Layer;
use tower_service::Service;

use super::{
    Claims, Error, Require, Verifier,
    checked::{Checked, require},
    one_issuer::CheckedInMemory,
    refused::Refused,
};

/// Admits only requests with a valid token. Made by [`Verifier::layer`].
///
/// The token is read only from `Authorization: Bearer`. A request with another scheme, or with a token in the query, the body or a cookie,
/// counts as a request without a token.
///
/// A refusal has no body. [`Refused`] is among its extensions, so an outer middleware can add one:
///
/// ```
/// # use axum::{Json, Router, middleware, response::{IntoResponse, Response}, routing::get};
/// # use sealwright::verifier::{BuildError, Refused, Verifier};
/// # fn app() -> Result<Router, BuildError> {
/// # let verifier = Verifier::for_issuer("https://auth.example").audience("https://orders.example").build()?;
/// async fn with_body(mut answer: Response) -> Response {
///     let Some(Refused { error, .. }) = answer.extensions().get() else { return answer };
///     let body = Json(serde_json::json!({ "error": error.code(), "message": error.to_string() })).into_response();
///     // The status, the challenge and `Retry-After` stay unchanged.
///     answer.headers_mut().insert("content-type", "application/json".parse().unwrap());
///     *answer.body_mut() = body.into_body();
///     answer
/// }
///
/// let app = Router::new()
///     .route("/orders", get(|| async { "orders" }))
///     .layer(verifier.layer())
///     .layer(middleware::map_response(with_body));
/// # Ok(app) }
/// # app().unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct TokenLayer {
    verifier: Verifier,
    anonymous: bool,
    required: Vec<Requirement>,
    grpc: bool,
    resource_metadata: Option<Arc<str>>,
}

/// A requirement on a token, as a check of its claims.
type Requirement = fn(&Claims) -> Result<(), Error>;

impl Verifier {
    /// A layer that admits only requests with a valid token, for axum, hyper, tonic ([`TokenLayer::grpc`]) and all other users of tower's
    /// layers.
    ///
    /// The layer covers every route that is added before it, whether or not its handler reads the token. Routes, nested routers, fallbacks and
    /// merged routers that are added after it are open to all. So add the layer after the last protected route, and open a route deliberately
    /// by adding it afterwards. CORS preflights have no token: add a CORS layer after this one in the code, which puts it outside, and
    /// let it expose `WWW-Authenticate` and `Retry-After` if scripts need them.
    #[must_use]
    pub fn layer(&self) -> TokenLayer {
        TokenLayer::new(self.clone())
    }
}

impl TokenLayer {
    fn new(verifier: Verifier) -> Self {
        Self { verifier, anonymous: false, required: Vec::new(), grpc: false, resource_metadata: None }
    }

    /// Also admits callers without a token. An invalid token is still refused. Handlers distinguish the two by `Option<Token>`.
    #[must_use]
    pub fn allow_anonymous(self) -> Self {
        Self { anonymous: true, ..self }
    }

    /// Adds a requirement on every token, for services without extractors. Callers without a token, where they are admitted, are exempt.
    #[must_use]
    pub fn require<R: Require>(mut self) -> Self {
        self.required.push(require::<R>);
        self
    }

    /// Makes every refusal a gRPC answer: HTTP status 200, and the reason in `grpc-status`: 16 (`UNAUTHENTICATED`) for 401, 7
    /// (`PERMISSION_DENIED`) for 403, 3 (`INVALID_ARGUMENT`) for 400, 14 (`UNAVAILABLE`) for 503. For services that only speak gRPC,
    /// such as tonic's:
    ///
    /// ```no_run
    /// # use sealwright::verifier::Verifier;
    /// # async fn serve(verifier: Verifier) -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_reporter, health) = tonic_health::server::health_reporter();
    /// tonic::transport::Server::builder()
    ///     .layer(verifier.layer().grpc())
    ///     .add_service(health)
    ///     .serve("127.0.0.1:50051".parse()?)
    ///     .await?;
    /// # Ok(()) }
    /// ```
    ///
    /// Do not use it on routes whose callers decide by the HTTP status, such as the target of nginx's `auth_request`: they would take
    /// every refusal for permission. No request header chooses between the two: without this option, a request with
    /// `Content-Type: application/grpc` is refused with a 401 like any other. Where one server has routes of both kinds, give each
    /// kind its own layer.
    #[must_use]
    pub fn grpc(self) -> Self {
        Self { grpc: true, ..self }
    }

    /// The URL of this API's metadata (RFC 9728), which every challenge then names: see
    /// [`ResourceMetadata`](super::ResourceMetadata). A text that no header can contain is ignored.
    #[must_use]
    pub fn resource_metadata(self, url: &str) -> Self {
        // A URL has only characters that a quoted string in a header may contain (RFC 3986 appendix A).
        let valid = url.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
        Self { resource_metadata: valid.then(|| url.into()), ..self }
    }

    fn admit(&self, outcome: Result<Claims, Error>) -> Result<Checked, Error> {
        let claims = match outcome {
            Ok(claims) => {
                self.required.iter().try_for_each(|require| require(&claims)).inspect_err(|error| self.verifier.count_refusal(error))?;
                Some(Arc::new(claims))
            }
            Err(Error::NoToken) if self.anonymous => None,
            Err(error) => return Err(error),
        };
        let (resource_metadata, verifier) = (self.resource_metadata.clone(), self.verifier.clone());
        Ok(Checked { claims, resource_metadata, grpc: self.grpc, verifier })
    }
}

impl<S> Layer<S> for TokenLayer {
    type Service = TokenService<S>;

    fn layer(&self, inner: S) -> TokenService<S> {
        TokenService { layer: self.clone(), inner }
    }
}

/// A service behind a [`TokenLayer`].
#[derive(Debug, Clone)]
pub struct TokenService<S> {
    layer: TokenLayer,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for TokenService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> ResponseFuture<S, B> {
        // tower requires that the service that was polled ready is the one that is called.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let layer = &self.layer;
        layer.verifier.ensure_fetching();
        let span = Verifier::span();
        let checked = span.in_scope(|| match bearer(request.headers()) {
            Ok(token) => layer.verifier.check_cached(token),
            Err(error) => CheckedInMemory { outcome: Err(error), wait_for: None },
        });
        let state = match (checked.outcome, checked.wait_for) {
            // The only path that waits and copies the token.
            (_, Some(_)) => {
                let layer = layer.clone();
                let token = bearer(request.headers()).unwrap_or_default().to_owned();
                let verifying = Box::pin(async move {
                    let outcome = layer.verifier.verify_within(span, &token).await;
                    layer.admit(outcome).map_err(|error| layer.refuse(error))
                });
                State::Verifying { verifying, then: Some((inner, request)) }
            }
            (outcome, None) => {
                match outcome {
                    // Not a refusal, because no token is required.
                    Err(Error::NoToken) if layer.anonymous => drop(span.record("outcome", "no_token")),
                    _ => layer.verifier.conclude(&span, &outcome),
                }
                match layer.admit(outcome) {
                    Ok(checked) => {
                        request.extensions_mut().insert(checked);
                        State::Inner { future: inner.call(request) }
                    }
                    Err(error) => State::Refused { refused: Some(layer.refuse(error)) },
                }
            }
        };
        ResponseFuture { state }
    }
}

impl TokenLayer {
    fn refuse(&self, error: Error) -> Refused {
        Refused::new(error, self.resource_metadata.clone(), self.grpc)
    }
}

type Verifying = Pin<Box<dyn Future<Output = Result<Checked, Refused>> + Send>>;

pin_project_lite::pin_project! {
    /// The future of a [`TokenService`].
    pub struct ResponseFuture<S: Service<Request<B>>, B> {
        #[pin]
        state: State<S, B, S::Future>,
    }
}

pin_project_lite::pin_project! {
    #[project = Now]
    enum State<S, B, F> {
        Inner { #[pin] future: F },
        Refused { refused: Option<Refused> },
        Verifying { verifying: Verifying, then: Option<(S, Request<B>)> },
    }
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Output = Result<Response<R>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                Now::Inner { future } => return future.poll(cx),
                Now::Refused { refused } => {
                    let refused = refused.take().expect("a future is not polled after it is ready");
                    return Poll::Ready(Ok(refused.into_http()));
                }
                Now::Verifying { verifying, then } => {
                    let outcome = ready!(verifying.as_mut().poll(cx));
                    let (mut inner, mut request) = then.take().expect("the state is left when it is ready");
                    match outcome {
                        Ok(checked) => {
                            request.extensions_mut().insert(checked);
                            State::Inner { future: inner.call(request) }
                        }
                        Err(refused) => State::Refused { refused: Some(refused) },
                    }
                }
            };
            state.set(next);
        }
    }
}

/// The token of a request: from the header, never from the URL or the body (RFC 6750 section 2, RFC 9700 section 4.3.2).
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, Error> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Err(Error::NoToken) };
    if values.next().is_some() {
        return Err(Error::BadRequest("the request has two Authorization headers"));
    }
    // RFC 9110 section 11.1: the scheme is case-insensitive. Another scheme counts as no token.
    let (scheme, token) = value.as_bytes().split_at_checked(6).ok_or(Error::NoToken)?;
    if !scheme.eq_ignore_ascii_case(b"bearer") || token.first().is_some_and(u8::is_ascii_alphanumeric) {
        return Err(Error::NoToken);
    }
    let unreadable = Error::BadRequest("what follows Bearer is not a token");
    let Some(b' ') = token.first() else { return Err(unreadable) };
    // b64token of RFC 6750 section 2.1. Some clients put more than one space before it.
    let start = token.iter().position(|b| *b != b' ').unwrap_or(token.len());
    let token = &token[start..];
    let unpadded = token.iter().rposition(|b| *b != b'=').map_or(0, |last| last + 1);
    let valid = unpadded > 0 && token[..unpadded].iter().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(b));
    if valid { std::str::from_utf8(token).map_err(|_| unreadable) } else { Err(unreadable) }
}
