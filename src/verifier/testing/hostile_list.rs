//! Hostile status lists, each with the reason for which it must be refused.

use std::io;

use aws_lc_rs::{
    rsa::KeySize,
    signature::{self, RsaKeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{
    Behavior, Issuer,
    published::{encode, sign},
};
use crate::{clock::Clock, protocol::Statuses};

/// An answer to a request for a status list that a verifier must refuse. Tokens are then looked up in the newest list that it has seen.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HostileList {
    /// What is wrong with it.
    pub name: String,
    /// The answer, for [`Issuer::answer_status_list`].
    pub answer: Behavior,
    /// A part of the error with which it is refused, as in [`StatusListState::last_error`](crate::verifier::StatusListState::last_error). An older list
    /// is never used, but only an error once the list that is held is [stale](crate::verifier::StatusListState::is_stale): for a moment, the nodes
    /// of an issuer may have different ones.
    pub error: &'static str,
}

/// The claim that orders the lists of Sealwright.
const EPOCH: &str = "sealwright_epoch";

/// Collects the hostile lists.
struct Forger<'a> {
    issuer: &'a Issuer,
    header: Value,
    claims: Value,
    made: Vec<HostileList>,
}

impl Issuer {
    /// Answers that a verifier must refuse, if it has fetched the status list as it is now. In each, no token is revoked, unless it is a copy of the
    /// list.
    ///
    /// # Errors
    ///
    /// If every key is withdrawn, or no key for the attacker can be generated.
    pub fn hostile_status_lists(&self) -> io::Result<Vec<HostileList>> {
        let mut claims = json!(self.shared().list_claims()?);
        // Newer than the list, so that each is refused only for what is wrong with it. And no token is revoked.
        claims[EPOCH] = json!(claims[EPOCH].as_i64().unwrap_or_default() + 1);
        claims["status_list"] = json!(Statuses::of_bits(vec![0; 1024]).encode()?);
        let mut forger = Forger { issuer: self, header: self.shared().list_header(), claims, made: Vec::new() };
        // First: with every further one, time passes, and what has a later `iat` than the list now would be older by its `iat` alone.
        forger.older()?;
        forger.signatures()?;
        forger.claims()?;
        forger.contents()?;
        forger.answers();
        Ok(forger.made)
    }
}

impl Forger<'_> {
    fn add(&mut self, error: &'static str, name: impl Into<String>, answer: Behavior) {
        self.made.push(HostileList { name: name.into(), answer, error });
    }

    /// Adds a signed list with some members of its header and its claims changed; null removes one.
    fn sign(&mut self, error: &'static str, name: impl Into<String>, header: &Value, claims: &Value) -> io::Result<()> {
        let (header, claims) = (with(&self.header, header), with(&self.claims, claims));
        let list = self.issuer.sign(header.to_string(), claims.to_string())?;
        self.add(error, name, Behavior::Body(list.into_bytes()));
        Ok(())
    }

    fn signatures(&mut self) -> io::Result<()> {
        let none = json!({});
        let unsigned = format!("{}.{}", encode(self.header.to_string()), encode(self.claims.to_string()));
        let alg_none =
            format!("{}.{}.", encode(with(&self.header, &json!({ "alg": "none" })).to_string()), encode(self.claims.to_string()));
        self.add("not signed with a supported algorithm", "alg none, unsigned", Behavior::Body(alg_none.into_bytes()));
        self.add("it has no signature", "RS256 without a signature", Behavior::Body(format!("{unsigned}.").into_bytes()));
        self.add("three parts", "the claims alone", Behavior::Body(self.claims.to_string().into_bytes()));
        for alg in ["none", "HS256", "rs256", ""] {
            self.sign("not signed with a supported algorithm", format!("alg {alg:?}, signed by RS256"), &json!({ "alg": alg }), &none)?;
        }
        let evil = RsaKeyPair::generate(KeySize::Rsa2048).map_err(io::Error::other)?;
        let forged = sign(&evil, &signature::RSA_PKCS1_SHA256, &unsigned)?;
        self.add("its signature is invalid", "the right kid and the wrong key", Behavior::Body(forged.into_bytes()));
        self.sign("a key that the issuer does not publish", "an unknown kid", &json!({ "kid": "unknown" }), &none)?;
        self.sign("its header has no kid", "no kid", &json!({ "kid": null }), &none)?;
        self.sign("an extension", "crit", &json!({ "crit": ["exp"] }), &none)?;
        for typ in [json!("JWT"), json!("at+jwt"), json!("statuslist+cwt"), json!(null)] {
            self.sign("it is not a status list", format!("typ {typ}"), &json!({ "typ": typ }), &none)?;
        }
        let token = self.issuer.token("https://orders.example").sign()?;
        self.add("it is not a status list", "an access token", Behavior::Body(token.into_bytes()));
        Ok(())
    }

    fn claims(&mut self) -> io::Result<()> {
        let (none, now) = (json!({}), self.issuer.clock().now().seconds());
        let url = self.issuer.url();
        for sub in
            [format!("{url}/oauth/status-lists/another"), "https://evil.example/oauth/status-lists/testing".to_owned(), String::new()]
        {
            self.sign("it is the list", format!("the list {sub:?}"), &none, &json!({ "sub": sub }))?;
        }
        self.sign("it has expired", "expired for longer than any leeway", &none, &json!({ "exp": now - 300 }))?;
        self.sign("it is from the future", "iat an hour ahead", &none, &json!({ "iat": now + 3600 }))?;
        for (name, value) in [
            ("sub", json!(null)),
            ("iat", json!(null)),
            ("iat", json!("1")),
            ("exp", json!("9999999999")),
            ("ttl", json!(-1)),
            ("ttl", json!("10")),
            (EPOCH, json!(1.5)),
            ("status_list", json!(null)),
            ("status_list", json!([1])),
            ("status_list", json!({ "bits": 1 })),
        ] {
            self.sign("it does not have the claims", format!("{name}: {value}"), &none, &json!({ name: value }))?;
        }
        let doubled = self.claims.to_string().replacen('{', &format!("{{\"iat\":{now},"), 1);
        let doubled = self.issuer.sign(self.header.to_string(), doubled)?;
        self.add("unique members", "iat twice", Behavior::Body(doubled.into_bytes()));
        Ok(())
    }

    fn older(&mut self) -> io::Result<()> {
        let none = json!({});
        let claims = self.claims.clone();
        let (iat, epoch) = (claims["iat"].as_i64().unwrap_or_default(), claims[EPOCH].as_i64().unwrap_or_default());
        for (name, changes) in [
            ("of an earlier epoch, with a later iat", json!({ EPOCH: epoch - 2, "iat": iat + 30 })),
            ("without an epoch, with a later iat", json!({ EPOCH: null, "iat": iat + 30 })),
            ("of an earlier epoch, with the same iat", json!({ EPOCH: epoch - 2 })),
        ] {
            self.sign("it is older than the list that was seen before", name, &none, &changes)?;
        }
        Ok(())
    }

    fn contents(&mut self) -> io::Result<()> {
        let none = json!({});
        let good = Statuses::of_bits(vec![0; 1024]).encode()?.lst;
        let bomb = Statuses::of_bits(vec![0; 1 << 25]).encode()?.lst;
        let compressed = BASE64_URL_SAFE_NO_PAD.decode(&good).map_err(io::Error::other)?;
        let cut = encode(&compressed[..compressed.len() / 2]);
        let mut changed = compressed;
        if let Some(last) = changed.last_mut() {
            *last ^= 1;
        }
        for (error, name, bits, lst) in [
            ("bytes when it is decompressed", "32 MiB of zeros, compressed", 1, bomb),
            ("not compressed in the zlib format", "cut in the middle", 1, cut),
            ("not compressed in the zlib format", "a wrong checksum", 1, encode(changed)),
            ("not compressed in the zlib format", "not compressed", 1, encode([0; 1024])),
            ("it is not base64url", "not base64url", 1, format!("{good}=")),
            ("its bits are 3", "bits 3", 3, good.clone()),
            ("its bits are 0", "bits 0", 0, good),
        ] {
            self.sign(error, name, &none, &json!({ "status_list": { "bits": bits, "lst": lst } }))?;
        }
        Ok(())
    }

    fn answers(&mut self) {
        self.add("larger than 256 KiB", "300 KB of spaces", Behavior::Body(vec![b' '; 300_000]));
        self.add("larger than 256 KiB", "a body without an end", Behavior::Endless);
        self.add("three parts", "a page to sign in", Behavior::Body(b"<!doctype html>".to_vec()));
        self.add("not a signed JWT", "bytes that are not UTF-8", Behavior::Body(vec![0xff; 100]));
        self.add("three parts", "an empty body", Behavior::Body(Vec::new()));
        self.add("redirects are not followed", "a redirect", Behavior::Redirect("https://evil.example/".to_owned()));
        for status in [204, 403, 500, 503] {
            self.add("it answers", format!("status {status}"), Behavior::Status(status));
        }
        self.add("error sending request", "no answer", Behavior::Down);
    }
}

fn with(object: &Value, changes: &Value) -> Value {
    let mut object = object.clone();
    for (name, value) in changes.as_object().into_iter().flatten() {
        match object.as_object_mut() {
            Some(members) if value.is_null() => drop(members.remove(name)),
            Some(members) => drop(members.insert(name.clone(), value.clone())),
            None => {}
        }
    }
    object
}
