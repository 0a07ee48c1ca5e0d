//! `sealwright token verify`: runs the checks that an API runs, in order, and shows the result of each.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{SettingFlags, TokenArgument, inspect::UnverifiedToken, printable};
use crate::{
    cli::{
        error::Error,
        output::{Output, Screen, rfc3339, table},
    },
    clock::{Clock, SystemClock, Timestamp},
    protocol::{AccessTokenClaims, Algorithm, Issuer},
    verifier::{self, Check, Explanation, Status, Verifier},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Verify {
    #[command(flatten)]
    token: TokenArgument,
    /// The audience that the token must have; --issuer gives the issuer
    #[arg(long, value_name = "URI")]
    audience: String,
    /// A scope token that it must carry; repeatable
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// An algorithm that is allowed; repeatable
    #[arg(long = "alg", value_name = "ALGORITHM", default_value = "RS256")]
    algorithms: Vec<Algorithm>,
    /// A JWKS file to verify with, instead of the keys that the issuer publishes
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// The result of the verification.
#[derive(Serialize)]
struct Report {
    verified: bool,
    /// The [`verifier::Error::code`] of the failure.
    reason: Option<&'static str>,
    checks: Vec<Finding>,
    /// The claims, if the token is valid.
    claims: Option<Value>,
}

#[derive(Serialize)]
struct Finding {
    check: &'static str,
    /// Null: not run, because an earlier check failed.
    passed: Option<bool>,
    detail: String,
}

impl Verify {
    pub(super) async fn run(self, settings: SettingFlags) -> Result<(), Error> {
        let issuer = settings.load()?.issuer.ok_or(Error::NoIssuer)?;
        let token = self.token.read()?;
        let mut builder = Verifier::for_issuer(issuer.as_str())
            .audience(&self.audience)
            // Not taken for an API on the same machine by the server.
            .name("token-verify")
            .algorithms(self.algorithms.iter().map(|algorithm| algorithm.as_str()));
        for scope in &self.scope {
            builder = builder.require_scope(scope);
        }
        builder = match &self.jwks {
            Some(path) => builder.keys_file(path),
            // An API accepts a token for a while when its list cannot be fetched. Here, that token counts as not checked.
            None => builder.revocation_max_stale(Duration::ZERO),
        };
        let verifier = builder.build()?;
        let explanation = verifier.explain(&token).await;
        let comparison = Comparison::new(&token, &issuer, &self, verifier.status());
        let report = Report::new(&explanation, &comparison);
        self.output.print(&report, Report::for_people)?;
        match explanation.outcome {
            Ok(_) => Ok(()),
            Err(error @ (verifier::Error::KeysUnavailable { .. } | verifier::Error::StatusUnavailable { .. })) => {
                Err(Error::NotChecked(error))
            }
            Err(error) => Err(Error::Refused(error)),
        }
    }
}

impl Report {
    fn new(explanation: &Explanation, comparison: &Comparison<'_>) -> Self {
        let finding = |check: Check| {
            let passed =
                if explanation.passed.contains(&check) { Some(true) } else { (explanation.failed == Some(check)).then_some(false) };
            let why = explanation.outcome.as_ref().err().filter(|_| passed == Some(false));
            let detail = passed.and_then(|passed| comparison.detail(check, passed));
            let words = why.map(ToString::to_string).into_iter().chain(detail);
            Finding { check: check.name(), passed, detail: printable(&words.collect::<Vec<_>>().join("; ")) }
        };
        let verified = explanation.outcome.is_ok();
        Self {
            verified,
            reason: explanation.outcome.as_ref().err().map(verifier::Error::code),
            checks: Check::ALL.iter().copied().map(finding).collect(),
            claims: verified.then(|| Value::Object(comparison.token.claims.clone())),
        }
    }

    fn for_people(&self) -> Screen {
        let state = |passed: Option<bool>| match passed {
            Some(true) => "ok",
            Some(false) => "FAILED",
            None => "-",
        };
        table(
            ["CHECK", "RESULT", "DETAIL"],
            self.checks.iter().map(|finding| [finding.check.to_owned(), state(finding.passed).to_owned(), finding.detail.clone()]),
        )
    }
}

/// The content of a token and what was expected of it.
struct Comparison<'a> {
    len: usize,
    /// Empty if it cannot be read.
    token: UnverifiedToken,
    issuer: &'a Issuer,
    expected: &'a Verify,
    status: Status,
    now: Timestamp,
}

impl<'a> Comparison<'a> {
    fn new(token: &str, issuer: &'a Issuer, expected: &'a Verify, status: Status) -> Self {
        let read = UnverifiedToken::read(token).unwrap_or_default();
        Self { len: token.len(), token: read, issuer, expected, status, now: SystemClock.now() }
    }

    /// A detail for the result of a check, whether or not it passed.
    fn detail(&self, check: Check, passed: bool) -> Option<String> {
        let UnverifiedToken { header, claims, .. } = &self.token;
        let shown = |members: &Map<String, Value>, name: &str| members.get(name).map_or_else(|| "missing".to_owned(), Value::to_string);
        let compared = |found: String, expected: String| if passed { found } else { format!("{found}, expected {expected}") };
        Some(match check {
            Check::Size => format!("{} bytes", self.len),
            Check::Algorithm => {
                let allowed: Vec<_> = self.expected.algorithms.iter().map(|algorithm| json!(algorithm.as_str()).to_string()).collect();
                compared(shown(header, "alg"), format!("{}, which --alg changes for this check", allowed.join(" or ")))
            }
            Check::Type => compared(shown(header, "typ"), json!(AccessTokenClaims::TYPE).to_string()),
            Check::Key if passed => format!("{} among {}", shown(header, "kid"), self.keys()),
            Check::Key => {
                let skipped = self.status.issuers.iter().flat_map(|issuer| &issuer.skipped);
                skipped.fold(format!("{} among {}", shown(header, "kid"), self.keys()), |text, why| format!("{text}; not used: {why}"))
            }
            Check::Issuer => compared(shown(claims, "iss"), json!(self.issuer.as_str()).to_string()),
            Check::Audience => compared(shown(claims, "aud"), json!(self.expected.audience).to_string()),
            Check::Expiry => self.time("exp")?,
            Check::Start => self.time("iat")?,
            Check::Scope if self.expected.scope.is_empty() => format!("{}, none is required", shown(claims, "scope")),
            Check::Status => self.looked_up(),
            Check::Scope => format!("{}, expected {}", shown(claims, "scope"), json!(self.expected.scope.join(" "))),
            _ => return None,
        })
    }

    fn keys(&self) -> String {
        let from = self.expected.jwks.as_ref().map_or_else(|| self.issuer.to_string(), |path| path.display().to_string());
        let keys = self.status.issuers.iter().flat_map(|issuer| &issuer.kids).map(|kid| json!(kid).to_string());
        let keys = format!("[{}] of {from}", keys.collect::<Vec<_>>().join(", "));
        let errors = self.status.issuers.iter().filter_map(|issuer| issuer.last_error.as_ref());
        errors.fold(keys, |keys, (why, _)| format!("{keys}: {why}"))
    }

    /// Where the status of the token is, and why its list could not be fetched.
    fn looked_up(&self) -> String {
        if self.expected.jwks.is_some() {
            return "not looked up, because the keys were given".to_owned();
        }
        let claim = self.token.claims.get("status").map_or_else(|| "the token names no status list".to_owned(), Value::to_string);
        let errors = self.status.issuers.iter().flat_map(|issuer| &issuer.status_lists).filter_map(|list| list.last_error.as_ref());
        errors.fold(claim, |claim, (why, _)| format!("{claim}: {why}"))
    }

    fn time(&self, claim: &str) -> Option<String> {
        let time = Timestamp::from_seconds(self.token.claims.get(claim)?.as_i64()?);
        let (ahead, ago) = (time.since(self.now).as_secs(), self.now.since(time).as_secs());
        Some(if ahead > 0 { format!("{}, {ahead} s from now", rfc3339(time)) } else { format!("{}, {ago} s ago", rfc3339(time)) })
    }
}
