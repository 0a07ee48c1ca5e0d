//! Where requests go.

use std::{collections::BTreeSet, path::PathBuf};

use url::Url;

use super::{
    listen::{ListenAt, ListenError},
    place::{Place, Prefix},
};
use crate::{
    protocol::{Audience, ClientId, Malformed, ScopeToken, is_loopback},
    proxy::Origin,
};

/// Maximum number of routes. Each has a place in the metrics.
pub(super) const MAX_ROUTES: usize = 64;

/// Where requests of one place go, and with which token.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) place: Place,
    pub(super) origin: Origin,
    /// The resource for which the token is requested (RFC 8707).
    pub(super) resource: Option<Audience>,
    /// A set (RFC 6749 section 3.3).
    pub(super) scopes: BTreeSet<ScopeToken>,
    /// Another client than the one of the process.
    pub(super) client: Option<OtherClient>,
}

/// A client that one route uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OtherClient {
    pub(super) id: ClientId,
    pub(super) proof: OtherProof,
}

/// The file of what it proves its identity with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OtherProof {
    Secret(PathBuf),
    Key(PathBuf),
}

/// Why a text is not a list of routes. Each text says what to write instead. No part with a user name is shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RouteError {
    #[error("it is empty")]
    Empty,
    #[error("there are more than {max} routes", max = MAX_ROUTES)]
    TooMany,
    #[error("{0} stands before the first route")]
    OptionFirst(&'static str),
    #[error(
        "{0:?} is neither an origin, PATH=ORIGIN, LISTENER=ORIGIN, nor one of the options resource, scope, client, secret-file and key-file"
    )]
    Form(String),
    #[error("{0:?} is not a path: it begins with a slash, has no empty segment and none of one or two dots, and no query")]
    Path(String),
    #[error("{place:?}: {source}")]
    Listener { place: String, source: ListenError },
    #[error("{0:?} is not an origin: give scheme, host and port only, such as https://orders.example")]
    Origin(String),
    #[error("others could read the tokens on their way to {0}: use https, or set to_unprotected = true if that network is yours alone")]
    Unprotected(Origin),
    #[error("{0}")]
    Value(Malformed),
    #[error("{0} is given twice for one route")]
    Twice(&'static str),
    #[error("client and secret-file or key-file belong together: give both for a route, or neither")]
    HalfAClient,
    #[error("two routes have the place {0}")]
    SamePlace(Place),
    #[error("{0} is `listen` as well, which the other routes use: give one of the two another place")]
    ListenTaken(Place),
    #[error(
        "{0} needs a resource of its own, because there are several origins: without one, each could use the token that it receives at the other; add resource=AUDIENCE after it (the setting resource is for one origin)"
    )]
    NoResource(Origin),
    #[error(
        "{one} and {other} would receive tokens for the same resource, so that each could use its own at the other, whatever their scopes and clients: give them different resources, or run a process for each"
    )]
    SharedResource { one: Origin, other: Origin },
}

/// All routes; at least one.
#[derive(Debug, Clone)]
pub(super) struct Routes(Vec<Route>);

impl Routes {
    /// Refuses none, and two with the same place.
    pub(super) fn new(routes: Vec<Route>) -> Result<Self, RouteError> {
        if routes.is_empty() {
            return Err(RouteError::Empty);
        }
        for (at, Route { place, .. }) in routes.iter().enumerate() {
            if routes[..at].iter().any(|other| other.place.is_same_as(place)) {
                return Err(RouteError::SamePlace(place.clone()));
            }
        }
        Ok(Self(routes))
    }

    /// Completes routes that name no resource or no scopes. Refuses two origins with the same resource, because each could use the token that
    /// it receives at the other (RFC 8707 section 3): other scopes or another client do not make it a token for another API. So a default for
    /// the resource is for one origin.
    pub(super) fn with_defaults(mut self, resource: Option<&Audience>, scopes: &BTreeSet<ScopeToken>) -> Result<Self, RouteError> {
        let several = self.iter().any(|route| route.origin != self.0[0].origin);
        for route in &mut self.0 {
            match &route.resource {
                None if several => return Err(RouteError::NoResource(route.origin.clone())),
                None => route.resource = resource.cloned(),
                Some(_) => {}
            }
            if route.scopes.is_empty() {
                scopes.clone_into(&mut route.scopes);
            }
        }
        for (at, route) in self.iter().enumerate() {
            let shares = |other: &&Route| other.origin != route.origin && other.resource == route.resource;
            if let Some(other) = self.0[..at].iter().find(shares) {
                return Err(RouteError::SharedResource { one: other.origin.clone(), other: route.origin.clone() });
            }
        }
        Ok(self)
    }

    /// Refuses a route with a listener of its own that is `main`, if that is used.
    pub(super) fn beside(self, main: &ListenAt) -> Result<Self, RouteError> {
        let used = self.iter().any(|route| matches!(route.place, Place::Path(_)));
        let main = Place::Listener(main.clone());
        let taken = self.iter().map(|route| &route.place).find(|place| used && place.is_same_as(&main)).cloned();
        match taken {
            Some(place) => Err(RouteError::ListenTaken(place)),
            None => Ok(self),
        }
    }

    /// Refuses origins to which a token would travel in the clear (RFC 6750 section 5.3), unless they are on this machine.
    pub(super) fn protected(self, unprotected: bool) -> Result<Self, RouteError> {
        let exposed = self.iter().map(|route| &route.origin).find(|origin| !unprotected && !is_protected(origin)).cloned();
        match exposed {
            Some(origin) => Err(RouteError::Unprotected(origin)),
            None => Ok(self),
        }
    }

    /// The number of different origins.
    pub(super) fn count_origins(&self) -> usize {
        let all = self.0.iter().enumerate();
        all.filter(|(at, route)| self.0[..*at].iter().all(|before| before.origin != route.origin)).count()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }

    /// The routes of each listener, by their numbers from 0: those of paths on `main`, each other one on its own.
    pub(super) fn by_listener(&self, main: &ListenAt) -> Vec<(ListenAt, Vec<(Prefix, usize)>)> {
        let (mut of_paths, mut all) = (Vec::new(), Vec::new());
        for (number, route) in self.iter().enumerate() {
            match &route.place {
                Place::Path(prefix) => of_paths.push((prefix.clone(), number)),
                Place::Listener(at) => all.push((at.clone(), vec![(Prefix::everything(), number)])),
            }
        }
        if !of_paths.is_empty() {
            all.insert(0, (main.clone(), of_paths));
        }
        all
    }

    pub(super) fn proofs(&self) -> impl Iterator<Item = &OtherProof> {
        self.iter().filter_map(|route| route.client.as_ref()).map(|client| &client.proof)
    }
}

fn is_protected(origin: &Origin) -> bool {
    let on_this_machine = |url: &Url| url.host().is_some_and(|host| is_loopback(&host));
    Url::parse(&origin.to_string()).is_ok_and(|url| url.scheme() == "https" || on_this_machine(&url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gd4_a_listener_of_a_route_is_not_the_one_that_paths_use() {
        let beside = |text: &str, main: &str| text.parse::<Routes>().unwrap().beside(&main.parse().unwrap()).map(|_| ());
        let both = "https://a.example 127.0.0.1:9100=https://a.example";
        assert!(matches!(beside(both, "localhost:9100"), Err(RouteError::ListenTaken(_))));
        assert_eq!(beside(both, "127.0.0.1:9101"), Ok(()));
        assert_eq!(beside("127.0.0.1:9100=https://a.example", "127.0.0.1:9100"), Ok(()), "nothing else listens there");
        assert_eq!(beside("https://a.example 127.0.0.1:0=https://a.example", "127.0.0.1:0"), Ok(()), "two ports are chosen");
    }

    #[test]
    fn gd4_two_origins_never_share_a_resource() {
        let complete = |text: &str, resource: Option<&str>| {
            let resource: Option<Audience> = resource.map(|resource| resource.parse().unwrap());
            let scopes = ["orders:read".parse().unwrap()].into();
            text.parse::<Routes>().unwrap().with_defaults(resource.as_ref(), &scopes)
        };
        let no_resource = RouteError::NoResource("https://b.example".parse().unwrap());
        for resource in [None, Some("urn:a"), Some("urn:b")] {
            let refused = complete("/a=https://a.example resource=urn:a /b=https://b.example", resource).unwrap_err();
            assert_eq!(refused, no_resource, "a default would be shared");
        }
        let one = complete("/a=https://a.example /b=https://a.example:443", Some("urn:a")).unwrap();
        assert!(one.iter().all(|route| route.resource.as_ref().map(Audience::as_str) == Some("urn:a")), "the same origin");

        let a = "/a=https://a.example resource=urn:a";
        for shared in ["resource=urn:a", "resource=urn:a scope=orders:write", "resource=urn:a client=other secret-file=/b"] {
            let refused = complete(&format!("{a} /b=https://b.example {shared}"), None).unwrap_err();
            assert!(matches!(refused, RouteError::SharedResource { .. }), "{shared}: {refused:?}");
        }
        assert!(complete(&format!("{a} /b=https://b.example resource=urn:b"), None).is_ok());
        assert!(
            complete(&format!("{a} /b=https://a.example resource=urn:a scope=orders:write"), None).is_ok(),
            "one origin has several tokens"
        );
    }

    #[test]
    fn gd4_a_token_travels_in_the_clear_only_on_this_machine() {
        let protected = |text: &str, unprotected| text.parse::<Routes>().unwrap().protected(unprotected).is_ok();
        for origin in ["https://orders.example", "http://127.0.0.1:3000", "http://[::1]:3000", "http://localhost:3000"] {
            assert!(protected(origin, false), "{origin}");
        }
        for origin in ["http://orders.example", "http://192.0.2.1:3000", "http://localhost.evil.example", "http://127.0.0.1.evil.example"] {
            assert!(!protected(origin, false) && protected(origin, true), "{origin}");
        }
    }
}
