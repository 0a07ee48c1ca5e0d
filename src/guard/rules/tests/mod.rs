//! The rules as a whole: files, decisions, and how they hold against APIs that read paths in other ways.

mod apis;
mod decisions;
mod files;
mod lenient_apis;
mod properties;

use http::{HeaderMap, Method};

use super::{Ambiguous, Decision, RuleFile, Rules};

/// Three lines, so that the first line of what follows is the fourth.
const ISSUER: &str = "[[issuer]]\nissuer = \"https://auth.example\"\naudience = \"https://orders.example\"\n";

fn rules(text: &str) -> Rules {
    RuleFile::parse(&format!("{ISSUER}{text}")).unwrap_or_else(|error| panic!("{error}\n{text}")).rules
}

fn decide<'a>(rules: &'a Rules, method: &str, path: &'a str) -> Result<Decision<'a>, Ambiguous> {
    rules.decide(&Method::from_bytes(method.as_bytes()).unwrap(), path, None, &HeaderMap::new())
}

/// The decision in a word: `public`, `denied`, the scope that is needed, or what is ambiguous.
fn outcome(rules: &Rules, method: &str, path: &str) -> String {
    match decide(rules, method, path) {
        Ok(Decision::Public) => "public".to_owned(),
        Ok(Decision::NoRule) => "denied".to_owned(),
        Ok(Decision::Needs(needed)) => needed.scope.to_string(),
        Err(why) => why.code().to_owned(),
    }
}

fn assert_outcomes(rules: &Rules, expected: &[(&str, &str, &str)]) {
    for (method, path, expected) in expected {
        assert_eq!(outcome(rules, method, path), *expected, "{method} {path}");
    }
}
