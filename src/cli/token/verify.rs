//! `sealwright token verify`: each check that an API makes, in order, and why it fails.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{SettingFlags, TokenArgument, harmless, inspect::UnverifiedToken};
use crate::{
    cli::{
        error::Error,
        output::{Output, rfc3339, table},
    },
    clock::{Clock, SystemClock, Timestamp},
    protocol::{AccessTokenClaims, Issuer},
    verifier::{self, Check, Explanation, Status, Verifier},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Verify {
    #[command(flatten)]
    token: TokenArgument,
    /// The API that the token is to be for; the issuer is named by --issuer
    #[arg(long, value_name = "URI")]
    audience: String,
    /// A scope token that it is to carry; may be given more than once
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// A JWKS document to check with, instead of the keys that the issuer publishes now
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// What came of it.
#[derive(Serialize)]
struct Report {
    verified: bool,
    /// Why not, as [`verifier::Error::code`] says it.
    reason: Option<&'static str>,
    checks: Vec<Finding>,
    /// What it says, once somebody knows that it is genuine.
    claims: Option<Value>,
}

#[derive(Serialize)]
struct Finding {
    check: &'static str,
    /// Null: not looked at, since an earlier one failed.
    passed: Option<bool>,
    detail: String,
}

impl Verify {
    pub(super) async fn run(self, settings: SettingFlags) -> Result<(), Error> {
        let issuer = settings.load()?.issuer.ok_or(Error::NoIssuer)?;
        let token = self.token.read()?;
        let mut builder = Verifier::for_issuer(issuer.as_str()).audience(&self.audience);
        for scope in &self.scope {
            builder = builder.require_scope(scope);
        }
        if let Some(path) = &self.jwks {
            builder = builder.keys_file(path);
        }
        let verifier = builder.build()?;
        let explanation = verifier.explain(&token).await;
        let said = Said::new(&token, &issuer, &self, verifier.status());
        let report = Report::new(&explanation, &said);
        self.output.print(&report, Report::for_people)?;
        match explanation.outcome {
            Ok(_) => Ok(()),
            Err(error @ verifier::Error::KeysUnavailable { .. }) => Err(Error::NotChecked(error)),
            Err(error) => Err(Error::Refused(error)),
        }
    }
}

impl Report {
    fn new(explanation: &Explanation, said: &Said<'_>) -> Self {
        let finding = |check: Check| {
            let passed =
                if explanation.passed.contains(&check) { Some(true) } else { (explanation.failed == Some(check)).then_some(false) };
            let why = explanation.outcome.as_ref().err().filter(|_| passed == Some(false));
            let detail = passed.and_then(|passed| said.of(check, passed));
            let words = why.map(ToString::to_string).into_iter().chain(detail);
            Finding { check: check.name(), passed, detail: harmless(&words.collect::<Vec<_>>().join("; ")) }
        };
        let verified = explanation.outcome.is_ok();
        Self {
            verified,
            reason: explanation.outcome.as_ref().err().map(verifier::Error::code),
            checks: Check::ALL.into_iter().map(finding).collect(),
            claims: verified.then(|| Value::Object(said.token.claims.clone())),
        }
    }

    fn for_people(&self) -> String {
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

/// What a token says and what was wanted of it, side by side.
struct Said<'a> {
    len: usize,
    /// Empty where it cannot be read.
    token: UnverifiedToken,
    issuer: &'a Issuer,
    wanted: &'a Verify,
    status: Status,
    now: Timestamp,
}

impl<'a> Said<'a> {
    fn new(token: &str, issuer: &'a Issuer, wanted: &'a Verify, status: Status) -> Self {
        let read = UnverifiedToken::read(token).unwrap_or_default();
        Self { len: token.len(), token: read, issuer, wanted, status, now: SystemClock.now() }
    }

    /// A detail that helps whether or not the check passed.
    fn of(&self, check: Check, passed: bool) -> Option<String> {
        let UnverifiedToken { header, claims, .. } = &self.token;
        let shown = |members: &Map<String, Value>, name: &str| members.get(name).map_or_else(|| "missing".to_owned(), Value::to_string);
        let compared = |found: String, wanted: String| if passed { found } else { format!("{found}, wanted is {wanted}") };
        Some(match check {
            Check::Size => format!("{} bytes", self.len),
            Check::Algorithm => compared(shown(header, "alg"), json!("RS256").to_string()),
            Check::Type => compared(shown(header, "typ"), json!(AccessTokenClaims::TYPE).to_string()),
            Check::Key if passed => format!("{} among {}", shown(header, "kid"), self.keys()),
            Check::Key => {
                let skipped = self.status.issuers.iter().flat_map(|issuer| &issuer.skipped);
                skipped.fold(format!("{} among {}", shown(header, "kid"), self.keys()), |said, why| format!("{said}; not used: {why}"))
            }
            Check::Issuer => compared(shown(claims, "iss"), json!(self.issuer.as_str()).to_string()),
            Check::Audience => compared(shown(claims, "aud"), json!(self.wanted.audience).to_string()),
            Check::Expiry => self.time("exp")?,
            Check::Start => self.time("iat")?,
            Check::Scope if self.wanted.scope.is_empty() => format!("{}, none is wanted", shown(claims, "scope")),
            Check::Scope => format!("{}, wanted is {}", shown(claims, "scope"), json!(self.wanted.scope.join(" "))),
            _ => return None,
        })
    }

    fn keys(&self) -> String {
        let from = self.wanted.jwks.as_ref().map_or_else(|| self.issuer.to_string(), |path| path.display().to_string());
        let keys = self.status.issuers.iter().flat_map(|issuer| &issuer.kids).map(|kid| json!(kid).to_string());
        let keys = format!("[{}] of {from}", keys.collect::<Vec<_>>().join(", "));
        let errors = self.status.issuers.iter().filter_map(|issuer| issuer.last_error.as_ref());
        errors.fold(keys, |keys, (why, _)| format!("{keys}: {why}"))
    }

    fn time(&self, claim: &str) -> Option<String> {
        let time = Timestamp::from_seconds(self.token.claims.get(claim)?.as_i64()?);
        let (ahead, ago) = (time.since(self.now).as_secs(), self.now.since(time).as_secs());
        Some(if ahead > 0 { format!("{}, {ahead} s from now", rfc3339(time)) } else { format!("{}, {ago} s ago", rfc3339(time)) })
    }
}
