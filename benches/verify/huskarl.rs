//! `huskarl-resource-server` as an API has it: its validator for RFC 9068, which allows RS256 alone, as ours does, and is otherwise as it comes.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header::AUTHORIZATION};
use huskarl_resource_server::{
    core::{
        Error,
        http::{HttpClient, HttpResponse, Idempotency},
        platform::MaybeSendBoxFuture,
    },
    validator::rfc9068::Rfc9068Validator,
};

/// Answers each fetch with the same keys, so that nothing here waits for a network.
struct GivenKeys(Bytes);

impl HttpClient for GivenKeys {
    fn execute(&self, _: Request<Bytes>, _: Idempotency) -> MaybeSendBoxFuture<'_, Result<HttpResponse, Error>> {
        let answer = HttpResponse { status: StatusCode::OK, headers: HeaderMap::new(), body: self.0.clone() };
        Box::pin(async { Ok(answer) })
    }
}

pub struct Huskarl {
    validator: Rfc9068Validator,
    uri: Uri,
}

impl Huskarl {
    pub async fn new(issuer: &str, audience: &str, keys: String) -> Self {
        let validator = Rfc9068Validator::builder()
            .issuer(issuer)
            .audience(audience)
            .allowed_signing_algorithms(["RS256".to_owned()])
            .jwks_uri("https://auth.example/jwks.json".parse().expect("a URL"))
            .jwks_source(GivenKeys(keys.into()))
            .build()
            .await
            .expect("a validator");
        Self { validator, uri: Uri::from_static("https://orders.example/orders") }
    }

    /// Whether it accepts a request with these headers.
    pub async fn accepts(&self, headers: &HeaderMap) -> bool {
        let result = self.validator.validate_request(headers, &Method::GET, &self.uri, None).await;
        matches!(result.outcome, Ok(Some(_)))
    }
}

/// The headers of a request with this token; `None` for a token that no header can hold.
pub fn bearer(token: &str) -> Option<HeaderMap> {
    let value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    Some(HeaderMap::from_iter([(AUTHORIZATION, value)]))
}
