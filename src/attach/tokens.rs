//! The tokens of all routes, and the task that keeps one of each at hand.

use std::{convert::Infallible, sync::Arc, time::Duration};

use futures_util::future::join_all;

use super::{config::Client, route::Route};
use crate::{
    client::{BuildError, TokenSource},
    clock::SharedClock,
    protocol::{Audience, ScopeToken},
    server::process::Task,
};

/// How often each source is asked for a token, so that it renews the token ahead of its end although no request needs it.
const USED_EVERY: Duration = Duration::from_secs(10);
/// The longest pause after a failed attempt. The source itself does not ask the issuer before it may.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

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
    scopes: Vec<ScopeToken>,
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

    pub(super) fn iter(&self) -> impl Iterator<Item = &Held> {
        self.0.iter()
    }

    /// Why requests of some routes cannot be sent now: there has never been a token, or none is valid any more.
    pub(super) fn missing(&self) -> Vec<String> {
        let missing = |held: &Held| {
            let status = held.source.status();
            let why = || status.last_error.map_or_else(|| "the first one has not arrived yet".to_owned(), |(error, _)| error.to_string());
            status.expires_in.is_none().then(|| format!("there is no token for {}: {}", held.wanted.shown(held.route), why()))
        };
        self.iter().filter_map(missing).collect()
    }
}

impl Wanted {
    fn source(&self, clock: &SharedClock) -> Result<TokenSource, BuildError> {
        let builder = self.client.builder().scopes(self.scopes.iter().map(ScopeToken::as_str)).clock(Arc::clone(clock));
        match &self.resource {
            Some(resource) => builder.resource(resource.as_str()),
            None => builder,
        }
        .token_source()
    }

    fn shown(&self, route: usize) -> String {
        self.resource.as_ref().map_or_else(|| format!("route {route}"), |resource| format!("the resource {resource} (route {route})"))
    }
}

/// Keeps a token of each kind at hand: the first request does not wait for it, and this process becomes ready without a request. A source
/// alone fetches its first token on demand, and stops fetching when no request comes.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) tokens: Tokens,
    pub(super) clock: SharedClock,
}

impl Task for Keeper {
    const NAME: &'static str = "token keeper";
    const WHEN_IT_ENDS: &'static str = "tokens are fetched only when a request needs one";

    async fn run(self) -> Infallible {
        loop {
            let pauses = join_all(self.tokens.iter().map(|held| async move {
                match held.source.token().await {
                    Ok(_) => USED_EVERY,
                    // Its cause is in the log already.
                    Err(error) => error.retry_after().unwrap_or(USED_EVERY).min(LONGEST_PAUSE),
                }
            }));
            let pause = pauses.await.into_iter().min().unwrap_or(USED_EVERY);
            self.clock.sleep_until(Self::NAME, self.clock.now() + pause).await;
        }
    }
}
