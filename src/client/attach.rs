//! A tower layer that attaches tokens to the requests of any tower client.

use std::{
    error::Error as StdError,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response, Uri, header};
use tower_layer::Layer;
use tower_service::Service;
use url::Url;

use super::{origins::Origins, refused_token::RefusedToken, token_source::TokenSource};

/// A tower layer that attaches the token to requests, for tonic, hyper and every other tower client. Made by
/// [`Client::layer`](super::Client::layer).
///
/// As with [`Client::execute`](super::Client::execute), only requests to the origins of [`attach_to`](super::Builder::attach_to) get the token,
/// and a request with an `Authorization` header of its own keeps it. The URI of a request must therefore be absolute. A tonic client makes it so
/// when it is given the origin:
///
/// ```no_run
/// use sealwright::client::{Credentials, Secret};
/// use tonic::transport::Channel;
/// use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
/// use tower::Layer;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Credentials::client("billing", Secret::file("/run/secrets/billing"))
///     .issuer("https://auth.example")
///     .resource("https://orders.example")
///     .attach_to(["https://orders.example"])
///     .build()?;
/// let channel = Channel::from_static("https://orders.example").connect_lazy();
/// let mut orders = HealthClient::with_origin(client.layer().layer(channel), "https://orders.example".parse()?);
/// orders.check(HealthCheckRequest::default()).await?;
/// # Ok(()) }
/// ```
///
/// **The layer sees only the URI, not where the channel connects.** Give `with_origin` the origin of the channel's endpoint: if they differ, the
/// token goes to the endpoint, whatever its address, with or without TLS.
///
/// A request is not repeated, because its body may be a stream. After an answer that refuses the token (a 401 that says `invalid_token` or gives
/// no reason, or a gRPC `UNAUTHENTICATED` without a body), another token is fetched in the background; the refused one stays in use until it
/// arrives, because other APIs may accept it. If there is no token, the request fails with the [`Error`](super::Error) as its cause.
#[derive(Debug, Clone)]
pub struct AttachLayer {
    source: TokenSource,
    origins: Origins,
}

impl AttachLayer {
    pub(super) const fn new(source: TokenSource, origins: Origins) -> Self {
        Self { source, origins }
    }

    /// Whether a request to `uri` gets the token.
    fn allows(&self, uri: &Uri) -> bool {
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            self.origins.warn_relative();
            return false;
        };
        Url::parse(&format!("{scheme}://{authority}/")).is_ok_and(|url| self.origins.allow(&url))
    }
}

impl<S> Layer<S> for AttachLayer {
    type Service = AttachService<S>;

    fn layer(&self, inner: S) -> AttachService<S> {
        AttachService { layer: self.clone(), inner }
    }
}

/// A tower client behind an [`AttachLayer`].
#[derive(Debug, Clone)]
pub struct AttachService<S> {
    layer: AttachLayer,
    inner: S,
}

type BoxError = Box<dyn StdError + Send + Sync>;

impl<S, B, R> Service<Request<B>> for AttachService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // tower requires that the service that was polled ready is the one that is called.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        if request.headers().contains_key(header::AUTHORIZATION) || !self.layer.allows(request.uri()) {
            let response = inner.call(request);
            return Box::pin(async move { response.await.map_err(Into::into) });
        }
        let source = self.layer.source.clone();
        Box::pin(async move {
            let token = source.token().await?;
            request.headers_mut().insert(header::AUTHORIZATION, token.header());
            let response = inner.call(request).await.map_err(Into::into)?;
            if RefusedToken::of(response.status(), response.headers()).is_some() {
                source.renew(&token);
            }
            Ok(response)
        })
    }
}
