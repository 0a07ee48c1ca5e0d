//! Tokens whose header names no algorithm, or another one than the issuer's.

use std::io;

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    hmac,
    signature::KeyPair,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;

use super::{Forger, MadeBy};
use crate::verifier::testing::published::encode;

/// Secrets that tutorials use.
const TUTORIALS: [&str; 5] = ["secret", "changeme", "password", "your-256-bit-secret", "your_jwt_secret"];
/// The length of a line of a key in text form (RFC 7468 section 2).
const PEM_LINE: usize = 64;

impl Forger<'_> {
    /// No algorithm, or one that uses the public key as a secret: CVE-2015-2951, CVE-2016-10555. Or, CVE-2022-21449, a signature of zeros.
    pub(super) fn algorithms(&mut self) -> io::Result<()> {
        let payload = encode(self.good().claims_text());
        for alg in ["none", "None", "NONE", "nOnE", "noNE", "", "rs256", "RS384", "PS256", "ES256", "EdDSA", "dir"] {
            let with_kid = self.good().header("alg", alg);
            for (header, kid) in [(with_kid.header_text(), "a kid"), (with_kid.clone().without_header("kid").header_text(), "no kid")] {
                self.by = MadeBy::Anyone;
                self.add("algorithm_not_allowed", format!("alg {alg:?} with {kid}, unsigned"), format!("{}.{payload}.", encode(&header)));
                self.by = MadeBy::IssuerMistake;
                let signed = self.issuer.sign(&header, self.good().claims_text())?;
                self.add("algorithm_not_allowed", format!("alg {alg:?} with {kid}, signed by RS256"), signed);
            }
        }
        self.sign("algorithm_not_allowed", "no alg", |token| token.without_header("alg"))?;
        self.sign("malformed", "alg as a list", |token| token.header("alg", json!(["RS256"])))?;
        self.by = MadeBy::Anyone;
        let header = encode(self.good().header("alg", "ES256").header_text());
        self.add("algorithm_not_allowed", "ES256 with a signature of zeros", format!("{header}.{payload}.{}", encode([0; 64])));
        Ok(())
    }

    /// HMAC with a secret that an attacker has: the public key in some form, or a secret from a tutorial, or what a `kid` leads to.
    pub(super) fn shared_secrets(&mut self) -> io::Result<()> {
        self.by = MadeBy::Anyone;
        let pair = self.issuer.pair()?;
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(io::Error::other)?;
        let one_line = pem(der.as_ref(), usize::MAX);
        let lines = pem(der.as_ref(), PEM_LINE);
        let modulus = pair.public_key().modulus().big_endian_without_leading_zero();
        let jwk = self.issuer.published().signing_key().map(|key| json!(key.public).to_string()).unwrap_or_default();
        for (name, secret) in [
            ("DER", der.as_ref()),
            ("PEM", one_line.as_bytes()),
            ("PEM in lines", lines.as_bytes()),
            ("PEM in lines without the last line break", lines.trim_end().as_bytes()),
            ("modulus", modulus),
            ("JWK", jwk.as_bytes()),
            ("nothing", b""),
        ] {
            self.mac("HS256", None, format!("HS256 keyed with the public key as {name}"), secret);
        }
        self.mac("HS512", None, "HS512 keyed with the public key as PEM in lines", lines.as_bytes());
        for secret in TUTORIALS {
            self.mac("HS256", None, format!("HS256 keyed with {secret:?}"), secret.as_bytes());
        }
        // The key set that `useless_keys` belongs to publishes this one.
        self.mac("HS256", Some("symmetric"), "HS256 keyed with the symmetric key of the key set", b"secret");
        for kid in ["../../../../../../../dev/null", "/dev/null"] {
            self.mac("HS256", Some(kid), format!("HS256 keyed with the empty file that kid {kid:?} names"), b"");
        }
        for kid in ["x' UNION SELECT 'probe' -- ", "x' UNION SELECT 'probe';--"] {
            self.mac("HS256", Some(kid), format!("HS256 keyed with what kid {kid:?} selects"), b"probe");
        }
        Ok(())
    }

    fn mac(&mut self, alg: &str, kid: Option<&str>, name: impl Into<String>, secret: &[u8]) {
        let token = self.good().header("alg", alg);
        let token = kid.into_iter().fold(token, |token, kid| token.header("kid", kid));
        let signed = format!("{}.{}", encode(token.header_text()), encode(token.claims_text()));
        let algorithm = if alg == "HS512" { hmac::HMAC_SHA512 } else { hmac::HMAC_SHA256 };
        let mac = hmac::sign(&hmac::Key::new(algorithm, secret), signed.as_bytes());
        self.add("algorithm_not_allowed", name, format!("{signed}.{}", encode(mac)));
    }
}

/// A public key in text form (RFC 7468 section 13), in lines of this length.
fn pem(der: &[u8], line: usize) -> String {
    let base64 = BASE64_STANDARD.encode(der);
    let mut text = "-----BEGIN PUBLIC KEY-----\n".to_owned();
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (first, after) = rest.split_at(line.min(rest.len()));
        text.push_str(first);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END PUBLIC KEY-----\n");
    text
}
