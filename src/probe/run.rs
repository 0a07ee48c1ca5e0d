//! One run of the probe.

use std::{pin::pin, time::Duration};

use bytes::Bytes;
use tokio::{net::TcpListener, time::timeout};

use super::{
    Options, Report,
    api::Api,
    findings::Findings,
    kind::{Kind, Severity},
    report::Counts,
    tls,
    unprobed::Unprobed,
};
use crate::{
    clock::{Clock, Stopwatch, SystemClock},
    protocol::ScopeToken,
    verifier::testing::{Issuer, TokenBuilder},
};

/// The token with another signature of the same length.
pub(super) fn forged(token: &str) -> String {
    format!("{}AAAA", &token[..token.len() - 4])
}

/// How long a person waits without wondering.
const MOMENT: Duration = Duration::from_secs(2);

/// The issuer is served and the API is known; nothing has been sent yet.
pub(crate) struct Probe {
    pub(super) options: Options,
    pub(super) issuer: Issuer,
    pub(super) api: Api,
    pub(super) findings: Findings,
    /// The ids of the two keys that are published. The first signs.
    pub(super) kids: [String; 2],
    /// The answer to the first good token.
    pub(super) good_body: Bytes,
}

impl Probe {
    /// Serves the issuer. `is_mine` permits an API that is not on this machine.
    pub(crate) async fn prepare(options: Options, is_mine: bool) -> Result<Self, Unprobed> {
        if !is_mine && !options.is_local() {
            return Err(Unprobed::NotLocal { url: options.shown_url() });
        }
        let address = options.listen;
        let listener = TcpListener::bind(address).await.map_err(|source| Unprobed::Listen { address, source })?;
        let listener = match &options.certificate {
            Some(certificate) => tls::in_front(listener, certificate).await?,
            None => listener,
        };
        let mut issuer = Issuer::closed(options.issuer.as_str())?;
        if let Some(path) = &options.jwks_path {
            issuer.serve_keys_at(path);
        }
        for (name, value) in &options.claims {
            issuer.always_claim(name, value.clone());
        }
        // The next key is published beside the one that signs, as an issuer does that rotates its keys.
        let first = issuer.kid();
        let second = issuer.rotate()?;
        issuer.sign_with(&first);
        if !options.plain_keys {
            for key in issuer.useless_keys()? {
                issuer.publish(key);
            }
        }
        // An API that fetched the keys before all of them were published would refuse the second one.
        issuer.listen(listener);
        let api = Api::new(&options).await?;
        Ok(Self { options, issuer, api, findings: Findings::default(), kids: [first, second], good_body: Bytes::new() })
    }

    /// Probes the API. `waits` is called if that has to wait for the API for longer than a moment.
    pub(crate) async fn run(mut self, waits: impl FnOnce()) -> Result<Report, Unprobed> {
        let time = Stopwatch::start();
        {
            let mut ready = pin!(self.ready());
            match timeout(MOMENT, ready.as_mut()).await {
                Ok(outcome) => outcome?,
                Err(_) => {
                    waits();
                    ready.await?;
                }
            }
        }
        self.api.must_answer();
        let mut counts = Counts { good: self.good_tokens().await?, ..Counts::default() };
        // Before the tokens with unknown kids, which use up what some libraries allow to fetch in a minute.
        self.second_key().await?;
        counts.without_scope = self.tokens_without_scope().await?;
        counts.hostile = self.hostile_tokens().await?;
        let before = self.api.sent();
        self.token_elsewhere().await?;
        self.authorization_headers().await?;
        self.requests_without_token().await;
        self.remembered_tokens().await?;
        counts.requests = self.api.sent() - before;
        self.unknown_keys().await?;
        self.provoked_requests();
        self.good_at_the_end().await?;
        counts.sent = self.api.sent();
        if self.api.has_stopped() {
            self.findings.leave_open(None, "the rest", "the API stopped answering");
        }
        Ok(Report::new(&self.options, counts, time.elapsed(), self.findings, self.api.has_stopped()))
    }

    /// Begins a token that the API must accept.
    pub(super) fn good(&self) -> TokenBuilder<'_> {
        self.set_clock();
        self.issuer.token(self.options.audience.as_str()).scope(self.scope())
    }

    /// The clock of the issuer stands still otherwise.
    pub(super) fn set_clock(&self) {
        let clock = self.issuer.clock();
        clock.advance(SystemClock.now().since(clock.now()));
    }

    /// The scope of good tokens.
    pub(super) fn scope(&self) -> &str {
        self.options.scope.as_ref().map_or("", ScopeToken::as_str)
    }

    /// After all of it, the API must still work.
    async fn good_at_the_end(&mut self) -> Result<(), Unprobed> {
        let token = self.good().sign()?;
        if let Some(attempt) = self.api.with_token(&token) {
            let answer = self.api.send(&attempt).await;
            let name = "a good token at the end";
            if self.api.has_stopped() {
                self.findings.add(Severity::Weakness, Kind::FellOver, name, &answer);
            } else {
                self.findings.accepted(Severity::Weakness, Kind::FellOver, name, &answer);
            }
        }
        Ok(())
    }
}
