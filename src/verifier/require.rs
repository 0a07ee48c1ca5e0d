//! What a token can be required to have, expressed as types.

use std::marker::PhantomData;

use super::Claims;
use crate::protocol::ScopeToken;

/// One scope token, named by a type. Define it with [`scopes!`](crate::scopes).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a requirement on a token",
    label = "not a scope, a tuple of scopes, `AnyOf`, `OfClient`, `OfUser` or `Anything`",
    note = "define a scope by `scopes! {{ OrdersRead = \"orders:read\"; }}` and write `Token<OrdersRead>`"
)]
pub trait NamedScope: 'static {
    /// The scope token (RFC 6749 section 3.3).
    const NAME: &'static str;
}

/// A requirement on a token: a [`NamedScope`], a tuple of requirements (all must be met), [`AnyOf`] several, [`OfClient`], [`OfUser`], or
/// [`Anything`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a requirement on a token",
    label = "not a scope, a tuple of scopes, `AnyOf`, `OfClient`, `OfUser` or `Anything`",
    note = "define a scope by `scopes! {{ OrdersRead = \"orders:read\"; }}` and write `Token<OrdersRead>`"
)]
pub trait Require: 'static {
    /// Whether the token meets the requirement.
    fn is_met(claims: &Claims) -> bool;

    /// The required scope tokens, separated by spaces.
    fn scope() -> String {
        String::new()
    }
}

/// No requirement beyond a valid token.
#[derive(Debug)]
pub enum Anything {}

impl Require for Anything {
    fn is_met(_: &Claims) -> bool {
        true
    }
}

impl<S: NamedScope> Require for S {
    fn is_met(claims: &Claims) -> bool {
        claims.has_scope(S::NAME)
    }

    fn scope() -> String {
        S::NAME.to_owned()
    }
}

/// At least one of several: `AnyOf<(OrdersRead, OrdersWrite)>`.
#[derive(Debug)]
pub struct AnyOf<T>(PhantomData<fn() -> T>);

/// A token that an app got for itself, without a user.
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

            /// The first scope: one is enough, and a caller that requests all of them may be refused all.
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

/// Whether `text` is a scope token. [`scopes!`](crate::scopes) calls this at compile time.
#[doc(hidden)]
#[must_use]
pub const fn is_scope_token(text: &str) -> bool {
    let (bytes, mut at) = (text.as_bytes(), 0);
    while at < bytes.len() {
        if !ScopeToken::may_contain(bytes[at]) {
            return false;
        }
        at += 1;
    }
    !bytes.is_empty()
}

/// Defines types that name scope tokens. A text that is not a scope token (RFC 6749 section 3.3) does not compile.
///
/// ```
/// sealwright::verifier::scopes! {
///     /// May see orders.
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

        impl $crate::verifier::NamedScope for $name {
            const NAME: &'static str = $scope;
        }

        const _: () = assert!($crate::verifier::is_scope_token($scope), concat!("not a scope token of RFC 6749: ", $scope));
    )+};
}
