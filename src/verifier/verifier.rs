//! Checks the tokens of one API.

use std::{collections::HashSet, sync::Arc};

use tracing::{Instrument, Span, field::Empty};

use super::{
    BuildError, Check, Claims, Error, Status,
    check::unverified_issuer,
    one_issuer::{CheckedInMemory, OneIssuer},
    status::Counters,
};

/// Checks tokens for one API. Cloning it is cheap, and the clones share keys and counters.
#[derive(Debug, Clone)]
pub struct Verifier(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// At least one.
    issuers: Vec<Arc<OneIssuer>>,
    counters: Counters,
}

/// The checks that a token passed, and the result. See [`Verifier::explain`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Explanation {
    /// The checks that it passed, in order.
    pub passed: Vec<Check>,
    /// The check that it failed. `None` if it passed all of them, or if its issuer is unknown among several.
    pub failed: Option<Check>,
    /// The result of [`Verifier::verify`].
    pub outcome: Result<Claims, Error>,
}

impl Verifier {
    /// Combines verifiers for several issuers: each token is checked by the verifier of the issuer that it names, with only that
    /// issuer's keys.
    ///
    /// ```
    /// # use sealwright::verifier::{BuildError, Verifier};
    /// # fn main() -> Result<(), BuildError> {
    /// let ours = Verifier::for_issuer("https://auth.example").audience("https://orders.example").build()?;
    /// let partner = Verifier::for_issuer("https://login.partner.example").audience("orders").algorithms(["ES256"]).build()?;
    /// let verifier = Verifier::any_of([ours, partner])?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// If no verifier is given, or two of them are for the same issuer.
    pub fn any_of(verifiers: impl IntoIterator<Item = Self>) -> Result<Self, BuildError> {
        let issuers: Vec<_> = verifiers.into_iter().flat_map(|verifier| verifier.0.issuers.clone()).collect();
        if issuers.is_empty() {
            return Err(BuildError::NoIssuer);
        }
        let mut seen = HashSet::new();
        if let Some(duplicate) = issuers.iter().find(|one| !seen.insert(one.expected.issuer.as_str())) {
            return Err(BuildError::DuplicateIssuer(duplicate.expected.issuer.to_string()));
        }
        Ok(Self::of(issuers))
    }

    pub(super) fn of(issuers: Vec<Arc<OneIssuer>>) -> Self {
        Self(Arc::new(Inner { issuers, counters: Counters::default() }))
    }

    /// Checks a token: its header, its signature, its claims, then its status. Waits for the issuer only if the cached keys or its status list are
    /// not sufficient and a fetch is permitted; callers share that wait, and [`Builder::fetch_timeout`](super::Builder::fetch_timeout) bounds it. Call it in a
    /// tokio runtime with I/O and time: elsewhere nothing is fetched.
    ///
    /// # Errors
    ///
    /// The first reason to refuse the token, or [`Error::KeysUnavailable`] or [`Error::StatusUnavailable`].
    pub async fn verify(&self, token: &str) -> Result<Claims, Error> {
        self.verify_within(Self::span(), token).await
    }

    pub(super) async fn verify_within(&self, span: Span, token: &str) -> Result<Claims, Error> {
        let verifying = async {
            match self.choose(token) {
                Ok(issuer) => issuer.verify(token).await,
                Err(error) => Err(error),
            }
        };
        let outcome = verifying.instrument(span.clone()).await;
        self.conclude(&span, &outcome);
        outcome
    }

    /// Checks a token with the cached keys and status lists. Does no I/O and does not wait. Fetching keys begins with
    /// [`verify`](Self::verify), [`ready`](Self::ready) or [`status`](Self::status), and then continues in the background. Fetching a status list
    /// begins with the first token that names it: until it has arrived, the error is [`Error::StatusUnavailable`].
    ///
    /// # Errors
    ///
    /// The first reason to refuse the token, or [`Error::KeysUnavailable`] or [`Error::StatusUnavailable`].
    pub fn verify_cached(&self, token: &str) -> Result<Claims, Error> {
        let span = Self::span();
        let outcome = span.in_scope(|| self.check_cached(token)).outcome;
        self.conclude(&span, &outcome);
        outcome
    }

    pub(super) fn check_cached(&self, token: &str) -> CheckedInMemory {
        match self.choose(token) {
            Ok(issuer) => issuer.check(token, |_| ()),
            Err(error) => CheckedInMemory { outcome: Err(error), wait_for: None },
        }
    }

    /// The span of one token. It contains nothing of the token itself.
    pub(super) fn span() -> Span {
        tracing::info_span!("verify_token", outcome = Empty, client.id = Empty, user.id = Empty)
    }

    /// Counts the result for one token and records it in the span. Every verification passes here once.
    pub(super) fn conclude(&self, span: &Span, outcome: &Result<Claims, Error>) {
        match outcome {
            Ok(claims) => {
                self.0.counters.accepted();
                span.record("outcome", "accepted");
                span.record("client.id", claims.client_id());
                if claims.subject() != claims.client_id() {
                    span.record("user.id", claims.subject());
                }
            }
            Err(error) => {
                self.count_refusal(error);
                span.record("outcome", error.code());
            }
        }
    }

    pub(super) fn count_refusal(&self, error: &Error) {
        self.0.counters.refused(error);
    }

    /// Starts the background fetching of keys, unless it runs already.
    pub(super) fn ensure_fetching(&self) {
        self.0.issuers.iter().for_each(|issuer| issuer.ensure_fetching());
    }

    /// Checks a token as [`verify`](Self::verify) does, and reports which checks it passed: for finding out why a token is refused. Counts nothing.
    pub async fn explain(&self, token: &str) -> Explanation {
        let issuer = match self.choose(token) {
            Ok(issuer) => issuer,
            Err(error) => return Explanation { passed: Vec::new(), failed: None, outcome: Err(error) },
        };
        // Fetches the keys and the status list for the check below.
        let _ = issuer.verify(token).await;
        let mut passed = Vec::new();
        let outcome = issuer.check(token, |check| passed.push(check)).outcome;
        let failed = outcome.is_err().then(|| Check::ALL.iter().copied().find(|check| !passed.contains(check))).flatten();
        Explanation { passed, failed, outcome }
    }

    /// Fetches the keys of every issuer, unless usable ones are cached: for a start that waits until the API can serve.
    ///
    /// # Errors
    ///
    /// [`Error::KeysUnavailable`] if the keys of one issuer cannot be fetched now. Fetching continues in the background.
    pub async fn ready(&self) -> Result<(), Error> {
        // Starts all fetches before waiting for each.
        self.ensure_fetching();
        let mut outcome = Ok(());
        for issuer in &self.0.issuers {
            outcome = outcome.and(issuer.ready().await);
        }
        outcome
    }

    /// The state of the verifier: keys, their age, the last error, counters. For a readiness check ([`Status::is_ready`]) and for metrics.
    /// Does not wait; in a tokio runtime, it starts the background fetching of keys.
    #[must_use]
    pub fn status(&self) -> Status {
        let status = |issuer: &Arc<OneIssuer>| {
            issuer.ensure_fetching();
            issuer.status()
        };
        self.0.counters.status(self.0.issuers.iter().map(status).collect())
    }

    /// The issuers and the audience of each.
    pub(super) fn issuers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.issuers.iter().map(|issuer| (issuer.expected.issuer.as_str(), issuer.expected.audience.as_str()))
    }

    /// The issuer with whose keys a token is checked.
    fn choose(&self, token: &str) -> Result<&OneIssuer, Error> {
        if let [only] = &self.0.issuers[..] {
            return Ok(only);
        }
        let longest = self.0.issuers.iter().map(|issuer| issuer.expected.accepted.max_len).max().unwrap_or_default();
        let named = unverified_issuer(token, longest)?;
        let issuer = self.0.issuers.iter().find(|issuer| issuer.expected.issuer.as_str() == named);
        issuer.map(Arc::as_ref).ok_or(Error::WrongIssuer)
    }
}
