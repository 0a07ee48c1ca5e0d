//! Whether the API can be probed: it answers, it refuses requests without a token, and it accepts the probe's own good token.

use std::{io, time::Duration};

use super::{
    api::{Answer, Given},
    kind::{Kind, Severity},
    run::{Probe, forged},
    unprobed::Unprobed,
};
use crate::clock::{Clock, SystemClock, Timestamp};

const PAUSE: Duration = Duration::from_millis(250);
/// Some libraries refuse tokens while they fetch the keys in the background.
const FETCH: Duration = Duration::from_secs(1);
/// The name under which this room sleeps.
const SLEEPER: &str = "probe wait";

impl Probe {
    /// Waits until the API answers, and makes sure that its answers say something.
    pub(super) async fn ready(&mut self) -> Result<(), Unprobed> {
        let until = SystemClock.now() + self.options.wait;
        self.refuses_no_token(until).await?;
        self.accepts_good_token(until).await?;
        self.accepts_another().await?;
        self.says_by_status().await
    }

    fn url(&self) -> String {
        self.options.shown_url()
    }

    async fn refuses_no_token(&mut self, until: Timestamp) -> Result<(), Unprobed> {
        let url = self.url();
        let answer = loop {
            let answer = self.api.send(&self.api.plain()).await;
            // A gateway answers in the place of an API that starts up.
            let is_starting = matches!(answer.status(), None | Some(502..=504));
            if !is_starting || SystemClock.now() >= until {
                break answer;
            }
            pause().await;
        };
        let answer = match answer {
            Answer::Given(given) => given,
            Answer::Ended(why) | Answer::Unreachable(why) => return Err(Unprobed::Down { url, why }),
            Answer::Silent(_) => return Err(Unprobed::Down { url, why: answer.to_string() }),
        };
        let Given { status, challenge, .. } = &answer;
        if status.is_success() {
            return Err(Unprobed::Public { url, status: status.as_u16() });
        }
        let answer = Answer::Given(answer.clone());
        match status.as_u16() {
            // A redirect may be to a page for signing in. If a good token is redirected too, there is nothing to probe.
            300..=399 | 403 => self.findings.add(Severity::Note, Kind::Status, "no token: 401 is right", &answer),
            401 if challenge.is_none() => self.findings.add(Severity::Note, Kind::Status, "no token: no WWW-Authenticate", &answer),
            500 | 501 | 502 | 504.. => self.findings.add(Severity::Weakness, Kind::Crash, "no token", &answer),
            _ => {}
        }
        Ok(())
    }

    async fn accepts_good_token(&mut self, until: Timestamp) -> Result<(), Unprobed> {
        let url = self.url();
        let mut fetched_until = None;
        loop {
            let answer = self.send_good().await?;
            let has_fetched = self.issuer.key_fetches() > 0;
            if has_fetched {
                fetched_until.get_or_insert_with(|| SystemClock.now() + FETCH);
            }
            // An API with the keys of an earlier run fetches them again, but not at once. One that starts up may fail.
            let has_keys = fetched_until.is_some_and(|time| SystemClock.now() >= time);
            let may_change = !has_keys || matches!(answer.status(), None | Some(429 | 502..=504));
            let has_challenge = answer.given().is_some_and(|given| given.challenge.is_some());
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
                // Only a server that asks for a token in the same answer means the token by these.
                Some(status @ (400 | 406 | 409..=415 | 422 | 428)) if !has_challenge => {
                    return Err(Unprobed::Incomplete { url, status });
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

    /// A request that succeeds only once would hide what happens to every later token.
    async fn accepts_another(&self) -> Result<(), Unprobed> {
        let url = self.url();
        let answer = self.send_good().await?;
        match answer.status() {
            // The run counts what is refused because of too many requests.
            Some(200..=299 | 429) => Ok(()),
            None | Some(500..) => Err(Unprobed::Fails { url, answer: answer.to_string() }),
            Some(status) => Err(Unprobed::OnlyOnce { url, status }),
        }
    }

    /// An API that answers 200 to everything, and says in the body what went wrong, looks the same as one that accepts everything.
    async fn says_by_status(&self) -> Result<(), Unprobed> {
        let token = self.good().sign()?;
        let forged = forged(&token);
        let Some(attempt) = self.api.with_token(&forged) else { return Ok(()) };
        let answer = self.api.send(&attempt).await;
        let (good, again) = (self.good_body.clone(), self.send_good().await?);
        let is_always_the_same = again.given().is_some_and(|given| !good.is_empty() && given.body == good);
        match answer.given() {
            Some(given) if given.status.is_success() && is_always_the_same && given.body != good => {
                Err(Unprobed::SaysInBody { url: self.url(), status: given.status.as_u16() })
            }
            _ => Ok(()),
        }
    }

    async fn send_good(&self) -> Result<Answer, Unprobed> {
        let token = self.good().sign()?;
        match self.api.with_token(&token) {
            Some(attempt) => Ok(self.api.send(&attempt).await),
            None => Err(Unprobed::Issuer(io::Error::other("the good token cannot be sent in a header"))),
        }
    }

    /// What the API's requests to the issuer say about the cause.
    fn hint(&self, has_fetched: bool) -> String {
        let asked = self.issuer.other_paths();
        match asked.first() {
            _ if has_fetched && self.options.plain_keys => "It has fetched the probe's keys".to_owned(),
            _ if has_fetched => {
                "It has fetched the probe's keys. If both are set, its library may be unable to read a set that also contains keys of other types: try --plain-keys".to_owned()
            }
            Some(path) => format!(
                "It has not fetched the probe's keys, but has asked for {path}: if it expects them there, add --jwks-path {path}"
            ),
            None if self.issuer.metadata_fetches() > 0 => {
                "It has fetched the probe's metadata, but not the keys that they name: see its log".to_owned()
            }
            None => {
                "It has not fetched the probe's keys: if both are set, it holds those of an earlier run (restart it), or it fetches them from another address".to_owned()
            }
        }
    }
}

async fn pause() {
    SystemClock.sleep_until(SLEEPER, SystemClock.now() + PAUSE).await;
}
