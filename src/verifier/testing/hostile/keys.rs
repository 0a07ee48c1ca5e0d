//! Tokens by another key than the one that the issuer publishes for signatures.

use std::io;

use aws_lc_rs::signature::{self, RsaKeyPair};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;

use super::{Forger, MadeBy};
use crate::verifier::testing::{
    attacker::{ATTACKER_KID, attacker_jwk},
    certificate::self_signed,
    published::{encode, sign},
};

impl Forger<'_> {
    /// A key of the attacker's: CVE-2018-0114, CVE-2026-27962. The issuer serves it at the addresses that the tokens name.
    pub(super) fn keys(&mut self) -> io::Result<()> {
        self.by = MadeBy::Anyone;
        let evil = self.issuer.shared().attacker()?;
        let address = |path: &str| json!(self.issuer.shared().attacker_url(path));
        let chain = json!([BASE64_STANDARD.encode(self_signed(&evil)?)]);
        let members = [("jwk", attacker_jwk(&evil)), ("jku", address("/jku")), ("x5u", address("/x5u")), ("x5c", chain)];
        let payload = encode(self.good().claims_text());
        for (name, value) in members {
            for (token, code) in [(self.good(), "bad_signature"), (self.good().header("kid", ATTACKER_KID), "unknown_key")] {
                let signed = format!("{}.{payload}", encode(token.header(name, value.clone()).header_text()));
                let kid = if code == "unknown_key" { "a kid of its own" } else { "the kid of the issuer's" };
                self.add(code, format!("contains its own key in {name}, with {kid}"), evil_sign(&evil, &signed)?);
            }
        }
        let header = encode(self.good().header_text());
        self.add("bad_signature", "the right kid and the wrong key", evil_sign(&evil, &format!("{header}.{payload}"))?);
        let kid = self.issuer.shared().attacker_url("/kid");
        let signed = format!("{}.{payload}", encode(self.good().header("kid", kid).header_text()));
        self.add("unknown_key", "a kid that is the address of its own key", evil_sign(&evil, &signed)?);
        let of_attacker = self.good().claim("iss", self.issuer.shared().attacker_url("")).header("kid", ATTACKER_KID);
        let signed = format!("{}.{}", encode(of_attacker.header_text()), encode(of_attacker.claims_text()));
        self.add("unknown_key", "of another issuer, which publishes its key", evil_sign(&evil, &signed)?);
        self.by = MadeBy::IssuerMistake;
        for key in self.issuer.useless_keys()? {
            let kid = key["kid"].clone();
            self.sign("unknown_key", format!("names a key that is not for RS256 signatures: {kid}"), |token| token.header("kid", kid))?;
        }
        Ok(())
    }

    /// Signatures that are not the issuer's.
    pub(super) fn signatures(&mut self) -> io::Result<()> {
        let (header, payload) = (encode(self.good().header_text()), encode(self.good().claims_text()));
        self.by = MadeBy::IssuerMistake;
        for (name, padding) in [("SHA-512", &signature::RSA_PKCS1_SHA512), ("SHA-384", &signature::RSA_PKCS1_SHA384)] {
            let token = self.issuer.sign_by(padding, &header, &payload)?;
            self.add("bad_signature", format!("signed by PKCS #1 v1.5 with {name}"), token);
        }
        self.add("bad_signature", "signed by PSS", self.issuer.sign_by(&signature::RSA_PSS_SHA256, &header, &payload)?);
        self.by = MadeBy::Anyone;
        for (name, length) in [("a signature of zeros", 256), ("a null signature", 1), ("a signature of 4,096 zeros", 4096)] {
            self.add("bad_signature", name, format!("{header}.{payload}.{}", encode(vec![0; length])));
        }
        let token = self.issuer.sign_encoded(&header, &payload)?;
        self.add("bad_signature", "a signature with its end cut off", &token[..token.len() - 6]);
        let other = encode(self.good().claim("sub", "admin").claims_text());
        self.add("bad_signature", "claims changed after signing", token.replace(&payload, &other));
        Ok(())
    }
}

fn evil_sign(evil: &RsaKeyPair, signed: &str) -> io::Result<String> {
    sign(evil, &signature::RSA_PKCS1_SHA256, signed)
}
