//! The tokens of all routes.

use std::{collections::BTreeSet, sync::Arc};

use super::{config::Client, failure, route::Route};
use crate::{
    client::{BuildError, TokenSource},
    clock::SharedClock,
    protocol::{Audience, ScopeToken},
};

/// The sources of the tokens. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Tokens(Arc<[Held]>);

/// A source, and what distinguishes its tokens from those of the others.
#[derive(Debug)]
pub(super) struct Held {
    wanted: Wanted,
    pub(super) source: TokenSource,
    /// The number of the first route that uses it: its name in messages and metrics.
    pub(super) route: usize,
}

/// The token that a route needs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    client: Client,
    resource: Option<Audience>,
    scopes: BTreeSet<ScopeToken>,
}

impl Tokens {
    /// The sources for these routes, and which of them each route uses: routes that need the same token share it. Does no I/O, so it works
    /// while the issuer is down.
    pub(super) fn open<'r>(
        routes: impl Iterator<Item = &'r Route>,
        client: &Client,
        clock: &SharedClock,
    ) -> Result<(Self, Vec<TokenSource>), BuildError> {
        let (mut held, mut of_routes): (Vec<Held>, _) = (Vec::new(), Vec::new());
        for (number, route) in (1..).zip(routes) {
            let wanted = Wanted {
                client: route.client.as_ref().map_or_else(|| client.clone(), |other| client.replaced_by(other)),
                resource: route.resource.clone(),
                scopes: route.scopes.clone(),
            };
            let source = match held.iter().find(|held| held.wanted == wanted) {
                Some(held) => held.source.clone(),
                None => {
                    let source = wanted.source(clock)?;
                    held.push(Held { wanted, source: source.clone(), route: number });
                    source
                }
            };
            of_routes.push(source);
        }
        Ok((Self(held.into()), of_routes))
    }

    /// Fetches the first token of each kind: no request waits for it, and this process becomes ready without one.
    pub(super) fn fetch(&self) {
        self.iter().for_each(|held| held.source.fetch_ahead());
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Held> {
        self.0.iter()
    }

    /// Why requests of some routes cannot be sent now: there has never been a token, or none is valid any more.
    pub(super) fn missing(&self) -> Vec<String> {
        let missing = |held: &Held| {
            let status = held.source.status();
            let why = || {
                status.last_error.map_or_else(|| "the first one has not arrived yet".to_owned(), |(error, _)| failure::why_no_token(&error))
            };
            status.expires_in.is_none().then(|| format!("there is no token for {}: {}", held.wanted.shown(held.route), why()))
        };
        self.iter().filter_map(missing).collect()
    }
}

impl Wanted {
    fn source(&self, clock: &SharedClock) -> Result<TokenSource, BuildError> {
        let builder = self.client.builder().scopes(self.scopes.iter().map(ScopeToken::as_str)).clock(Arc::clone(clock));
        let builder = match &self.resource {
            Some(resource) => builder.resource(resource.as_str()),
            None => builder,
        };
        builder.standing_source()
    }

    fn shown(&self, route: usize) -> String {
        self.resource.as_ref().map_or_else(|| format!("route {route}"), |resource| format!("the resource {resource} (route {route})"))
    }
}
