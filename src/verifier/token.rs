//! Scopes as types, and the caller's token as an argument of a handler.

use std::{marker::PhantomData, ops::Deref, sync::Arc};

use axum_core::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::{Extensions, request::Parts};
use serde::{Deserialize, de::DeserializeOwned};

use super::{Claims, Error, layer::Checked, refused::Refused};
use crate::protocol::ScopeToken;

/// One scope token, named by a type. Write it with [`scopes!`](crate::scopes).
pub trait Scope: 'static {
    /// The scope token (RFC 6749 section 3.3).
    const NAME: &'static str;
}

/// What a token must hold: a [`Scope`], a tuple of them (all are needed), [`AnyOf`] some, [`OfClient`], [`OfUser`], or [`Anything`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is nothing that a token can be required to hold",
    note = "name a scope by `scopes! {{ OrdersRead = \"orders:read\"; }}` and write `Token<OrdersRead>`"
)]
pub trait Require: 'static {
    /// Whether the token holds it.
    fn is_met(claims: &Claims) -> bool;

    /// The scope tokens that are asked for, with a space between two of them.
    fn scope() -> String {
        String::new()
    }
}

/// Nothing more than that the token is good.
#[derive(Debug)]
pub enum Anything {}

impl Require for Anything {
    fn is_met(_: &Claims) -> bool {
        true
    }
}

impl<S: Scope> Require for S {
    fn is_met(claims: &Claims) -> bool {
        claims.has_scope(S::NAME)
    }

    fn scope() -> String {
        S::NAME.to_owned()
    }
}

/// Any one of several: `AnyOf<(OrdersRead, OrdersWrite)>`.
#[derive(Debug)]
pub struct AnyOf<T>(PhantomData<fn() -> T>);

/// A token that an app got for itself, and no user stands behind.
#[derive(Debug)]
pub enum OfClient {}

impl Require for OfClient {
    fn is_met(claims: &Claims) -> bool {
        !claims.is_for_user()
    }
}

/// A token that an app got for a user.
#[derive(Debug)]
pub enum OfUser {}

impl Require for OfUser {
    fn is_met(claims: &Claims) -> bool {
        claims.is_for_user()
    }
}

macro_rules! tuples {
    ($(($($name:ident),+))+) => {$(
        impl<$($name: Require),+> Require for ($($name,)+) {
            fn is_met(claims: &Claims) -> bool {
                $($name::is_met(claims))&&+
            }

            fn scope() -> String {
                joined(&[$($name::scope()),+])
            }
        }

        impl<$($name: Require),+> Require for AnyOf<($($name,)+)> {
            fn is_met(claims: &Claims) -> bool {
                $($name::is_met(claims))||+
            }

            /// The first: one is enough, and who asks for all of them may be refused all.
            fn scope() -> String {
                [$($name::scope()),+].into_iter().next().unwrap_or_default()
            }
        }
    )+};
}

tuples! { (A) (A, B) (A, B, C) (A, B, C, D) }

fn joined(scopes: &[String]) -> String {
    scopes.iter().filter(|scope| !scope.is_empty()).map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// No claims of one's own.
#[derive(Debug, Deserialize)]
pub struct NoCustom {}

/// The caller's token, checked by the [layer](super::Verifier::layer). As an argument of an axum handler it refuses by itself those
/// who do not hold what it requires:
///
/// | argument | who gets in |
/// |---|---|
/// | `Token` | everybody with a good token |
/// | `Token<OrdersWrite>` | with this scope; others get 403 and a challenge that names it |
/// | `Token<(OrdersRead, OrdersWrite)>`, `Token<AnyOf<(OrdersRead, OrdersWrite)>>` | with both; with one of them |
/// | `Token<OfUser>`, `Token<(OfClient, OrdersRead)>` | users; apps for themselves; the other kind gets 403 |
/// | `Token<OrdersRead, Tenant>`, `Token<Anything, Tenant>` | the same, and `custom` holds claims of your own as your type; one that is missing or of another type is 401 |
/// | `Option<Token>` | everybody, where the layer lets callers in without one, who are `None`; a bad token is still 401, a good one that lacks what is required 403 |
///
/// A tuple holds up to four. An app is told from a user by its `sub`, which is its `client_id` (RFC 9068 section 2.2): that holds with
/// issuers that never give a user the name of a client, as Sealwright never does.
///
/// On a route that the layer does not cover it is an empty 500, and an error in the log that says why: never an open door.
#[derive(Debug)]
pub struct Token<R: Require = Anything, C = NoCustom> {
    claims: Arc<Claims>,
    /// The claims of your own.
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
    /// What the layer found in a request, for services that have no extractors: hyper's and tonic's, whose requests keep the same
    /// extensions.
    ///
    /// # Errors
    ///
    /// As for a handler.
    pub fn of(extensions: &Extensions) -> Result<Self, Error> {
        Self::if_any(extensions)?.ok_or(Error::NoToken)
    }

    fn if_any(extensions: &Extensions) -> Result<Option<Self>, Error> {
        let Some(checked) = extensions.get::<Checked>() else {
            tracing::error!("a handler asks for a Token on a route that Verifier::layer does not cover");
            return Err(Error::NotLayered);
        };
        let Some(claims) = checked.require::<R>()? else { return Ok(None) };
        Ok(Some(Self { custom: claims.custom()?, claims: Arc::clone(claims), required: PhantomData }))
    }
}

fn refused(error: Error, parts: &Parts) -> Refused {
    let checked = parts.extensions.get::<Checked>();
    let resource_metadata = checked.and_then(|checked| checked.resource_metadata.clone());
    Refused { error, resource_metadata, grpc: checked.is_some_and(|checked| checked.grpc) }
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
        self.into_http()
    }
}

/// Whether `text` is one scope token: what [`scopes!`](crate::scopes) asks the compiler.
#[doc(hidden)]
#[must_use]
pub const fn is_scope_token(text: &str) -> bool {
    let (bytes, mut at) = (text.as_bytes(), 0);
    while at < bytes.len() {
        if !ScopeToken::may_hold(bytes[at]) {
            return false;
        }
        at += 1;
    }
    !bytes.is_empty()
}

/// Names scope tokens by types. One that RFC 6749 section 3.3 does not allow does not compile.
///
/// ```
/// sealwright::verifier::scopes! {
///     /// May look at orders.
///     pub OrdersRead = "orders:read";
///     OrdersWrite = "orders:write";
/// }
/// ```
///
/// ```compile_fail
/// sealwright::verifier::scopes! { pub Two = "orders read"; }
/// ```
#[macro_export]
#[doc(hidden)]
macro_rules! scopes {
    ($($(#[$meta:meta])* $visibility:vis $name:ident = $scope:literal;)+) => {$(
        $(#[$meta])*
        #[doc = concat!("The scope `", $scope, "`.")]
        #[derive(Debug)]
        $visibility enum $name {}

        impl $crate::verifier::Scope for $name {
            const NAME: &'static str = $scope;
        }

        const _: () = assert!($crate::verifier::is_scope_token($scope), concat!("no scope token of RFC 6749: ", $scope));
    )+};
}
