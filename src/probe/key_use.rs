//! How the API uses the issuer's keys, and what it fetches because of a token.

use url::Url;

use super::{
    kind::{Kind, Severity},
    run::Probe,
    unprobed::Unprobed,
};
use crate::entropy;

/// How many tokens with an unknown key are sent, and how many fetches they may cause. A library that allows ten a minute is within.
const UNKNOWN: u64 = 50;
const MAX_FETCHES: u64 = 12;

impl Probe {
    /// A token that is signed by the second key of the set.
    pub(super) async fn second_key(&mut self) -> Result<(), Unprobed> {
        let [first, second] = self.kids.clone();
        self.issuer.sign_with(&second);
        let token = self.good().sign();
        self.issuer.sign_with(&first);
        if let Some(attempt) = self.api.with_token(&token?) {
            let answer = self.api.send(&attempt).await;
            let name = "a good token that is signed by the second key of the set";
            // What also refuses the first key has nothing against the second.
            if answer.is_success() || self.accepts_good(1).await? {
                self.findings.accepted(Severity::Weakness, Kind::SecondKey, name, &answer);
            } else if !self.findings.is_unseen(&answer) {
                self.findings.refused_with_all_others();
            }
        }
        self.findings.leave_open(
            None,
            "new and withdrawn keys",
            "libraries fetch the key set again after 30 s at the earliest, which is longer than a run",
        );
        Ok(())
    }

    /// Tokens that name keys which no one publishes.
    pub(super) async fn unknown_keys(&mut self) -> Result<(), Unprobed> {
        let fetches = |probe: &Self| probe.issuer.key_fetches() + probe.issuer.metadata_fetches();
        let before = fetches(self);
        let mut has_failed = false;
        for _ in 0..UNKNOWN {
            let token = self.good().header("kid", entropy::unique_id()).sign()?;
            let Some(attempt) = self.api.with_token(&token) else { continue };
            let answer = self.api.send(&attempt).await;
            let fails = !self.findings.is_unseen(&answer) && matches!(answer.status(), None | Some(500..));
            // One stands for all: they differ in the kid alone.
            if fails && !has_failed {
                self.findings.refused("a token with an unknown kid, of many", &answer);
                has_failed = true;
            }
        }
        let caused = fetches(self) - before;
        if caused > MAX_FETCHES {
            let answer = format!("{caused} fetches");
            self.findings.say(Severity::Weakness, Kind::KeyFetches, format!("{UNKNOWN} tokens with an unknown kid"), answer);
        }
        Ok(())
    }

    /// Requests to addresses that only a token names.
    pub(super) fn provoked_requests(&mut self) {
        let attacker = self.issuer.attacker_url();
        let attacker = Url::parse(&attacker).map(|url| url.path().to_owned()).unwrap_or(attacker);
        let mut paths: Vec<String> = self.issuer.other_paths().into_iter().filter(|path| path.contains(&attacker)).collect();
        paths.sort();
        paths.dedup();
        for path in paths {
            let member = match path.rsplit('/').next() {
                Some("jku") => "in jku",
                Some("x5u") => "in x5u",
                Some("kid") => "in kid",
                _ => "in iss",
            };
            self.findings.say(Severity::Hole, Kind::Fetch, format!("an address {member}"), format!("a request to {path}"));
        }
    }
}
