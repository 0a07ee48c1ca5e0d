//! The nearest existing name, for an operator who mistyped one. Names are never suggested to clients.

use super::{Cause, Error};
use crate::{
    protocol::Audience,
    server::store::{self, Missing, NameOf, Store},
};

/// The outcome of a command. If a name does not exist, the error names the nearest one that does.
pub(super) async fn or_nearest<T>(store: &Store, outcome: Result<T, store::Error>) -> Result<T, Error> {
    match outcome {
        Err(store::Error::Missing(missing)) => Err(Cause::Missing { nearest: nearest(store, &missing).await, missing }.into()),
        outcome => Ok(outcome?),
    }
}

/// Requires that the resource of a filter exists: no entity of a mistyped one would look like an answer.
pub(super) async fn require_resource(store: &Store, audience: Option<&Audience>) -> Result<(), Error> {
    let Some(audience) = audience else { return Ok(()) };
    or_nearest(store, store.require_resource(audience).await).await
}

async fn nearest(store: &Store, missing: &Missing) -> Option<String> {
    let (of, name) = match missing {
        Missing::Client(id) => (NameOf::Client, id.to_string()),
        Missing::User(username) => (NameOf::User, username.to_string()),
        Missing::Resource(audience) => (NameOf::Resource, audience.to_string()),
        Missing::Scope { token, resource } => {
            return most_similar(token.as_str(), resource.scope.iter().map(ToString::to_string));
        }
        Missing::ScopeOwner(token) => (NameOf::Scope, token.to_string()),
        Missing::Login(_) | Missing::Credential { .. } => return None,
    };
    // The error of the command matters more than one of this query.
    let known = store.list_neighbors(of, &name).await.unwrap_or_default();
    most_similar(&name, known)
}

/// The most similar name, if any is similar enough.
fn most_similar(name: &str, known: impl IntoIterator<Item = String>) -> Option<String> {
    const LEAST: f64 = 0.8;
    let likeness = |known: String| (strsim::jaro_winkler(name, &known), known);
    let best = known.into_iter().map(likeness).max_by(|one, other| one.0.total_cmp(&other.0));
    best.filter(|(likeness, _)| *likeness > LEAST).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_similar_name_is_found_and_another_is_not() {
        let known = || ["billing", "shop", "https://orders.example"].map(str::to_owned);
        for (typed, nearest) in [
            ("biling", Some("billing")),
            ("shpo", Some("shop")),
            ("https://order.example", Some("https://orders.example")),
            ("x", None),
            ("reports", None),
        ] {
            assert_eq!(most_similar(typed, known()).as_deref(), nearest, "{typed}");
        }
        assert_eq!(most_similar("x", []), None);
    }
}
