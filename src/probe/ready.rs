//! Whether the API can be probed: it answers, it refuses requests without a token, and it accepts the probe's own good token.

use std::{io, time::Duration};

use super::{
    api::{Answer, Given},
    kind::{Kind, Severity},
    run::Probe,
    unprobed::Unprobed,
};
use crate::clock::{Clock, SystemClock, Timestamp};

const PAUSE: Duration = Duration::from_millis(250);
/// The name under which this room sleeps.
const SLEEPER: &str = "probe wait";

impl Probe {
    /// Waits until the API answers, and makes sure that its answers say something.
    pub(super) async fn ready(&mut self) -> Result<(), Unprobed> {
        let until = SystemClock.now() + self.options.wait;
        self.refuses_no_token(until).await?;
        self.accepts_good_token(until).await
    }

    fn url(&self) -> String {
        self.options.url.to_string()
    }

    async fn refuses_no_token(&mut self, until: Timestamp) -> Result<(), Unprobed> {
        let url = self.url();
        let answer = loop {
            match self.api.send(&self.api.plain()).await {
                Answer::Ended(_) | Answer::Silent if SystemClock.now() < until => pause().await,
                Answer::Ended(why) => return Err(Unprobed::Down { url, why }),
                answer @ Answer::Silent => return Err(Unprobed::Down { url, why: answer.to_string() }),
                Answer::Given(given) => break given,
            }
        };
        let Given { status, location, challenge, .. } = &answer;
        if status.is_redirection() {
            return Err(Unprobed::Redirects { url, location: location.clone().unwrap_or_else(|| "nowhere".to_owned()) });
        }
        if status.is_success() {
            return Err(Unprobed::Public { url, status: status.as_u16() });
        }
        let answer = Answer::Given(answer.clone());
        match status.as_u16() {
            401 if challenge.is_none() => self.findings.add(Severity::Note, Kind::Status, "no token: no WWW-Authenticate", &answer),
            500 | 501 | 502 | 504.. => self.findings.add(Severity::Weakness, Kind::Crash, "no token", &answer),
            _ => {}
        }
        Ok(())
    }

    async fn accepts_good_token(&mut self, until: Timestamp) -> Result<(), Unprobed> {
        let url = self.url();
        loop {
            let token = self.good().sign()?;
            let answer = match self.api.with_token(&token) {
                Some(attempt) => self.api.send(&attempt).await,
                None => return Err(Unprobed::Issuer(io::Error::other("the good token cannot be sent in a header"))),
            };
            let has_fetched = self.issuer.key_fetches() > 0;
            // An API with the keys of an earlier run fetches them again, but not at once. One that starts up may fail.
            let may_change = !has_fetched || matches!(answer.status(), None | Some(429 | 502..=504));
            match answer.status() {
                Some(200..=299) => {
                    self.good_body = answer.given().map(|given| given.body.clone()).unwrap_or_default();
                    return Ok(());
                }
                Some(404 | 405) => return Err(Unprobed::NoSuchRequest { url, status: answer.status().unwrap_or_default() }),
                Some(403) if has_fetched => return Err(Unprobed::NotAllowed { url }),
                Some(300..=399) => {
                    let location = answer.given().and_then(|given| given.location.clone()).unwrap_or_else(|| "nowhere".to_owned());
                    return Err(Unprobed::Redirects { url, location });
                }
                _ if may_change && SystemClock.now() < until => pause().await,
                None | Some(429 | 500..) => return Err(Unprobed::Fails { url, answer: answer.to_string() }),
                Some(_) => {
                    let fix = format!(
                        "set its ISSUER to {} and its AUDIENCE to {}. {}",
                        self.options.issuer,
                        self.options.audience,
                        self.hint(has_fetched)
                    );
                    return Err(Unprobed::NotConfigured { url, answer: answer.to_string(), fix });
                }
            }
        }
    }

    /// What the API's fetches say about the cause.
    const fn hint(&self, has_fetched: bool) -> &'static str {
        match has_fetched {
            true if !self.options.plain_keys => {
                "It has fetched the probe's keys. If both are set, its library may be unable to read a set that also contains keys of other types: try --plain-keys"
            }
            true => "It has fetched the probe's keys",
            false => {
                "It has not fetched the probe's keys: if both are set, it holds those of an earlier run (restart it), or it fetches them from another path (--jwks-path)"
            }
        }
    }
}

async fn pause() {
    SystemClock.sleep_until(SLEEPER, SystemClock.now() + PAUSE).await;
}
