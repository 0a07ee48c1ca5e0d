//! The caller's token as an argument of a handler.

use std::{marker::PhantomData, ops::Deref, sync::Arc};

use axum_core::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::{Extensions, HeaderValue, header, request::Parts};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    Anything, Claims, Error, Require,
    checked::{Checked, require},
    refused::Refused,
};

/// The default for an API without claims of its own.
#[derive(Debug, Deserialize)]
pub struct NoCustom {}

/// The caller's token, checked by the [layer](super::Verifier::layer). As an argument of an axum handler, it refuses callers that do not meet its
/// requirement:
///
/// | argument | admitted callers |
/// |---|---|
/// | `Token` | all with a valid token |
/// | `Token<OrdersWrite>` | with this scope; others get 403 and a challenge that names it |
/// | `Token<(OrdersRead, OrdersWrite)>`, `Token<AnyOf<(OrdersRead, OrdersWrite)>>` | with both scopes; with at least one of them |
/// | `Token<OfUser>`, `Token<(OfClient, OrdersRead)>` | users; apps acting for themselves; the other kind gets 403 |
/// | `Token<OrdersRead, Tenant>`, `Token<Anything, Tenant>` | the same, and `custom` contains your own claims as your type; a missing claim or one of another type is 401 |
/// | `Option<Token>` | also callers without a token, as `None`, if the layer allows them; an invalid token is still 401, an insufficient one 403 |
///
/// A tuple has up to four elements. An app is recognised by a `sub` that equals its `client_id` (RFC 9068 section 2.2). This is reliable with
/// issuers that never give a user the name of a client, such as Sealwright.
///
/// On a route that the layer does not cover, the answer is 500, and the log says what to do; in a debug build the body says it too. Only
/// requirements compile:
///
/// ```compile_fail,E0277
/// async fn handler(token: sealwright::verifier::Token<String>) {}
/// ```
#[derive(Debug)]
pub struct Token<R: Require = Anything, C = NoCustom> {
    claims: Arc<Claims>,
    /// Your own claims.
    pub custom: C,
    required: PhantomData<fn() -> R>,
}

impl<R: Require, C> Deref for Token<R, C> {
    type Target = Claims;

    fn deref(&self) -> &Claims {
        &self.claims
    }
}

impl<R: Require, C: DeserializeOwned> Token<R, C> {
    /// The token of a request, for services without extractors, such as hyper's and tonic's. Their requests keep the extensions that the layer
    /// set.
    ///
    /// # Errors
    ///
    /// As for a handler.
    pub fn of(extensions: &Extensions) -> Result<Self, Error> {
        let checked = checked(extensions)?;
        checked.counted(Self::read(checked).and_then(|token| token.ok_or(Error::NoToken)))
    }

    fn if_any(extensions: &Extensions) -> Result<Option<Self>, Error> {
        let checked = checked(extensions)?;
        checked.counted(Self::read(checked))
    }

    fn read(checked: &Checked) -> Result<Option<Self>, Error> {
        let Some(claims) = &checked.claims else { return Ok(None) };
        require::<R>(claims)?;
        Ok(Some(Self { custom: claims.custom()?, claims: Arc::clone(claims), required: PhantomData }))
    }
}

/// The result of the layer.
fn checked(extensions: &Extensions) -> Result<&Checked, Error> {
    extensions.get().ok_or_else(|| {
        tracing::error!("{}", Error::NotLayered);
        Error::NotLayered
    })
}

fn refused(error: Error, parts: &Parts) -> Refused {
    let checked = parts.extensions.get::<Checked>();
    let resource_metadata = checked.and_then(|checked| checked.resource_metadata.clone());
    Refused::new(error, resource_metadata, checked.is_some_and(|checked| checked.grpc))
}

impl<State: Sync, R: Require, C: DeserializeOwned> FromRequestParts<State> for Token<R, C> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Refused> {
        Self::of(&parts.extensions).map_err(|error| refused(error, parts))
    }
}

impl<State: Sync, R: Require, C: DeserializeOwned> OptionalFromRequestParts<State> for Token<R, C> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Option<Self>, Refused> {
        Self::if_any(&parts.extensions).map_err(|error| refused(error, parts))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        // The mistake is the API's own. A caller in production learns nothing from it.
        let advice = (cfg!(debug_assertions) && self.error == Error::NotLayered).then(|| format!("{}\n", self.error));
        let mut response: Response = self.into_http();
        if let Some(advice) = advice {
            *response.body_mut() = Body::from(advice);
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        }
        response
    }
}
