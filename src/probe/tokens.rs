//! Sends tokens: good ones, ones without the scope, and hostile ones.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use super::{
    api::{Answer, Attempt},
    kind::{Kind, Severity},
    run::Probe,
    unprobed::Unprobed,
};
use crate::verifier::testing::{Hostile, InHeader, MadeBy};

/// How many requests are under way at once.
const AT_ONCE: usize = 4;
/// After so many hostile tokens, good ones show whether the API still looks at what it is sent.
const BATCH: usize = 16;
/// A header of this length is accepted by every common server.
const COMMON_HEADER_LEN: usize = 8 * 1024;

/// How bad it is if a token of this origin is accepted.
const fn severity(made_by: MadeBy) -> Severity {
    match made_by {
        MadeBy::Anyone | MadeBy::AnotherPurpose => Severity::Hole,
        MadeBy::Reencoding | MadeBy::IssuerMistake => Severity::Note,
    }
}

/// Whether the token carries a key, or an address under `attacker` at which a key is.
fn brings_its_key(token: &str, attacker: &str) -> bool {
    let decoded = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let parts: Vec<Value> = token.split('.').take(2).filter_map(decoded).collect();
    let carries = |part: &Value| ["jwk", "x5c"].iter().any(|name| part.get(name).is_some());
    let leads_to = |part: &Value| {
        ["jku", "x5u", "kid", "iss"]
            .iter()
            .any(|name| part.get(name).and_then(Value::as_str).is_some_and(|text| text.starts_with(attacker)))
    };
    parts.iter().any(|part| carries(part) || leads_to(part))
}

impl Probe {
    /// Sends further tokens that are valid, and returns how many.
    pub(super) async fn good_tokens(&mut self) -> Result<usize, Unprobed> {
        const USER: &str = "0192f0c1-2a3b-7c4d-8e5f-60718293a4b5";
        let audience = self.options.audience.clone();
        let several = json!(["https://other.example", audience]);
        let scopes = format!("a:b {}", self.scope());
        let tokens = [
            ("of a user", self.good().user(USER).sign()?),
            ("for several audiences", self.good().claim("aud", several).sign()?),
            ("with a further claim", self.good().claim("probe", "x").sign()?),
            ("with one scope of several", self.good().scope(scopes.trim_end()).sign()?),
        ];
        let count = tokens.len() + 1;
        for (name, token) in tokens {
            let Some(attempt) = self.api.with_token(&token) else { continue };
            let answer = self.api.send(&attempt).await;
            self.findings.accepted(Severity::Note, Kind::GoodToken, format!("a token {name}"), &answer);
        }
        Ok(count)
    }

    /// Sends valid tokens that lack the scope, and returns how many.
    pub(super) async fn tokens_without_scope(&mut self) -> Result<usize, Unprobed> {
        let tokens = self.made_without_scope()?;
        if tokens.is_empty() {
            self.findings.leave_open(Some(Kind::Scope), "the scope", "no --scope was given");
        }
        let answers = self.send_hostile(&tokens).await;
        for (token, answer) in tokens.iter().zip(answers) {
            let Some(answer) = answer else { continue };
            let accepted = self.findings.refused(&token.name, &answer);
            if accepted {
                self.findings.add(severity(token.made_by), Kind::Scope, &token.name, &answer);
            } else if answer.status() == Some(401) {
                self.findings.add(Severity::Note, Kind::Status, format!("{}: 403 is right", token.name), &answer);
            }
        }
        Ok(tokens.len())
    }

    pub(super) fn made_without_scope(&self) -> Result<Vec<Hostile>, Unprobed> {
        let Some(scope) = &self.options.scope else { return Ok(Vec::new()) };
        self.set_clock();
        let mut tokens = self.issuer.tokens_without_scope(&self.options.audience, scope.as_str())?;
        if let Some(other) = &self.options.other_scope {
            let token = self.good().scope(other.as_str()).sign()?;
            tokens.push(Hostile::without_scope(format!("scope {:?} where {scope} is required", other.as_str()), token));
        }
        Ok(tokens)
    }

    /// Sends the hostile tokens, and returns how many.
    pub(super) async fn hostile_tokens(&mut self) -> Result<usize, Unprobed> {
        let tokens = self.made_hostile()?;
        let mut count = 0;
        for batch in tokens.chunks(BATCH) {
            let answers = self.send_hostile(batch).await;
            count += answers.iter().flatten().filter(|answer| !matches!(answer, Answer::Unreachable(_))).count();
            let busy = answers.iter().flatten().filter(|answer| answer.status() == Some(503)).count();
            let accepts_good = self.accepts_good(busy.max(1)).await?;
            for (token, answer) in batch.iter().zip(answers) {
                match answer {
                    None => {}
                    Some(answer) if !accepts_good && matches!(answer.status(), Some(300..=428 | 430..=499 | 503)) => {
                        self.findings.refused_with_all_others();
                    }
                    Some(answer) => self.add_answer(token, &answer),
                }
            }
        }
        Ok(count)
    }

    /// Adds what the answer to a hostile token says.
    fn add_answer(&mut self, token: &Hostile, answer: &Answer) {
        // A server that ends the connection because of the size has refused it.
        if token.token.len() > COMMON_HEADER_LEN && matches!(answer, Answer::Ended(_)) {
            return;
        }
        if self.findings.refused(&token.name, answer) {
            let brings_key = brings_its_key(&token.token, &self.issuer.attacker_url());
            let kind = if brings_key { Kind::KeyFromToken } else { Kind::of_code(token.code) };
            self.findings.add(severity(token.made_by), kind, &token.name, answer);
        }
    }

    /// Whether so many good tokens are all accepted. Where some requests get 503 because there are too many, one alone may be accepted.
    pub(super) async fn accepts_good(&self, count: usize) -> Result<bool, Unprobed> {
        let tokens: Vec<String> = (0..count).map(|_| self.good().sign()).collect::<Result<_, _>>()?;
        let answers = self.send_all(tokens.iter().map(|token| self.api.with_token(token)).collect()).await;
        Ok(answers.iter().flatten().all(Answer::is_success))
    }

    pub(super) fn made_hostile(&self) -> Result<Vec<Hostile>, Unprobed> {
        self.set_clock();
        Ok(self.issuer.hostile_tokens(&self.options.audience, self.scope())?)
    }

    /// The answers, in order. `None` for a token that cannot arrive as it is.
    async fn send_hostile(&self, tokens: &[Hostile]) -> Vec<Option<Answer>> {
        let attempts = tokens.iter().map(|token| {
            let arrives = matches!(token.in_header, InHeader::Unchanged | InHeader::TooLong);
            arrives.then(|| self.api.with_token(&token.token)).flatten()
        });
        self.send_all(attempts.collect()).await
    }

    /// The answers, in order. `None` for what is `None`.
    async fn send_all(&self, attempts: Vec<Option<Attempt>>) -> Vec<Option<Answer>> {
        let send = |attempt: Option<Attempt>| async move {
            match attempt {
                Some(attempt) => Some(self.api.send(&attempt).await),
                None => None,
            }
        };
        stream::iter(attempts).map(send).buffered(AT_ONCE).collect().await
    }
}
