//! Tokens for a process that sends the requests of others: there is always one at hand.

use super::{BuildError, Builder, TokenSource, exchange::Exchange};
use crate::kept::Prefetch;

impl Builder {
    /// Builds a source that renews its token ahead of its end whether or not it was used. Does no I/O.
    pub(crate) fn standing_source(self) -> Result<TokenSource, BuildError> {
        let clock = self.shared_clock();
        Ok(TokenSource::new(Exchange { prefetch: Prefetch::Always, ..self.exchange()? }, clock))
    }
}

impl TokenSource {
    /// Fetches the first token in the background, without a request that needs it.
    pub(crate) fn fetch_ahead(&self) {
        // The answer says only whether an attempt is made now.
        let _ = self.0.refresher.demand();
    }
}
