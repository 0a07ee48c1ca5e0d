//! Tokens of the issuer for another purpose, or with claims or header members that no access token has.

use std::io;

use serde_json::json;

use super::{Forger, MadeBy};
use crate::clock::Clock;

impl Forger<'_> {
    pub(super) fn headers(&mut self) -> io::Result<()> {
        self.by = MadeBy::IssuerMistake;
        for kid in ["", "unknown", "../../dev/null", "x' UNION SELECT '1';--", "| sleep 10", "\u{0}", "\r\nx: y"] {
            self.sign("unknown_key", format!("kid {kid:?}"), |token| token.header("kid", kid))?;
        }
        self.sign("malformed", "no kid", |token| token.without_header("kid"))?;
        for kid in [json!(null), json!(1), json!(["one"])] {
            self.sign("malformed", format!("kid {kid}"), |token| token.header("kid", kid))?;
        }
        self.sign("too_large", "a kid of 1 MB", |token| token.header("kid", "k".repeat(1_000_000)))?;
        for (name, value) in [("crit", json!([])), ("crit", json!(null)), ("b64", json!(false)), ("zip", json!("DEF"))] {
            self.sign("critical", format!("{name}: {value}"), |token| token.header(name, value))?;
        }
        self.by = MadeBy::AnotherPurpose;
        self.sign("critical", "crit: [\"exp\"]", |token| token.header("crit", json!(["exp"])))?;
        for typ in ["JWT", "", "logout+jwt", "dpop+jwt", "secevent+jwt", "at+jwt2"] {
            self.sign("wrong_type", format!("typ {typ:?}: another kind of token"), |token| token.header("typ", typ))?;
        }
        self.sign("wrong_type", "no typ: an ID token", |token| token.without_header("typ"))
    }

    pub(super) fn claims(&mut self) -> io::Result<()> {
        self.missing()?;
        self.times()?;
        self.parties()?;
        self.by = MadeBy::IssuerMistake;
        self.sign("malformed", "scope as a list", |token| token.claim("scope", json!(["orders:read"])))?;
        self.by = MadeBy::AnotherPurpose;
        for (name, binding) in [("a key", json!({ "jkt": "x" })), ("a certificate", json!({ "x5t#S256": "x" }))] {
            self.sign("binding_required", format!("bound to {name} without a proof"), |token| token.claim("cnf", binding))?;
        }
        Ok(())
    }

    fn missing(&mut self) -> io::Result<()> {
        self.by = MadeBy::AnotherPurpose;
        for claim in ["iss", "aud", "exp"] {
            self.sign("missing_claim", format!("no {claim}"), |token| token.without(claim))?;
        }
        self.by = MadeBy::IssuerMistake;
        for claim in ["iat", "sub", "client_id", "jti"] {
            self.sign("missing_claim", format!("no {claim}"), |token| token.without(claim))?;
        }
        for claim in ["sub", "client_id", "jti"] {
            self.sign("bad_claim", format!("an empty {claim}"), |token| token.claim(claim, ""))?;
        }
        Ok(())
    }

    fn times(&mut self) -> io::Result<()> {
        let now = self.issuer.clock().now().seconds();
        self.by = MadeBy::AnotherPurpose;
        self.sign("expired", "expired for longer than any leeway", |token| token.claim("exp", now - 300))?;
        // Libraries allow 60 s at most, unless they are configured otherwise.
        self.sign("expired", "expired for 75 s", |token| token.claim("exp", now - 75))?;
        self.sign("expired", "expired since 1970", |token| token.claim("exp", 0))?;
        self.sign("not_yet_valid", "nbf an hour ahead", |token| token.claim("nbf", now + 3600))?;
        self.by = MadeBy::IssuerMistake;
        self.sign("not_yet_valid", "iat an hour ahead", |token| token.claim("iat", now + 3600))
    }

    fn parties(&mut self) -> io::Result<()> {
        let url = self.issuer.url();
        let other_slash = url.strip_suffix('/').map_or_else(|| format!("{url}/"), str::to_owned);
        self.by = MadeBy::AnotherPurpose;
        for issuer in ["https://evil.example".to_owned(), format!("{}.evil.example", url.trim_end_matches('/'))] {
            self.sign("wrong_issuer", format!("iss {issuer:?}"), |token| token.claim("iss", issuer))?;
        }
        self.by = MadeBy::IssuerMistake;
        for issuer in [other_slash, url.to_uppercase(), String::new(), format!(" {url}")] {
            self.sign("wrong_issuer", format!("iss {issuer:?}"), |token| token.claim("iss", issuer))?;
        }
        self.sign("malformed", "iss as a list", |token| token.claim("iss", json!([url])))?;
        for audience in [json!(1), json!({}), json!([self.audience, 1]), json!(true)] {
            self.sign("malformed", format!("aud {audience}"), |token| token.claim("aud", audience))?;
        }
        let mut prefix = self.audience.to_owned();
        prefix.pop();
        let longer = format!("{}.evil.example", self.audience);
        self.by = MadeBy::AnotherPurpose;
        for audience in
            [json!([]), json!(["https://x.example"]), json!(prefix), json!(longer), json!(format!("{}/", self.audience)), json!("")]
        {
            self.sign("wrong_audience", format!("aud {audience}"), |token| token.claim("aud", audience))?;
        }
        Ok(())
    }
}
