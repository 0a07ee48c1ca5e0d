//! Hostile tokens, each with the reason for which it must be refused.

use std::io;

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    hmac,
    rsa::KeySize,
    signature::{self, KeyPair, RsaKeyPair},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{
    Issuer, TokenBuilder,
    published::{encode, sign},
};
use crate::clock::Clock;

/// A token that must be refused.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Hostile {
    /// What is wrong with it.
    pub name: String,
    /// The token.
    pub token: String,
    /// The [`code`](crate::verifier::Error::code) of the error with which it must be refused.
    pub code: &'static str,
    /// Whether it can be sent in an `Authorization` header as it is.
    pub in_header: InHeader,
}

/// What becomes of a token in an `Authorization` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InHeader {
    /// It arrives unchanged.
    Unchanged,
    /// HTTP removes the spaces at its ends (RFC 9110 section 5.5), so another token arrives, which may be valid.
    Trimmed,
    /// No header value may contain it (RFC 9110 section 5.5): HTTP libraries refuse to send it.
    Impossible,
    /// It is longer than most servers accept: they answer 431, or end an HTTP/2 connection.
    TooLong,
}

impl InHeader {
    /// A length that common servers accept.
    const MAX_LEN: usize = 64 * 1024;

    fn of(token: &str) -> Self {
        if token.bytes().any(|byte| byte.is_ascii_control()) {
            Self::Impossible
        } else if token.len() > Self::MAX_LEN {
            Self::TooLong
        } else if token.trim() != token {
            Self::Trimmed
        } else {
            Self::Unchanged
        }
    }
}

impl Hostile {
    fn new(code: &'static str, name: String, token: String) -> Self {
        Self { name, in_header: InHeader::of(&token), token, code }
    }
}

/// Collects the hostile tokens.
struct Forger<'a> {
    issuer: &'a Issuer,
    audience: &'a str,
    scope: &'a str,
    made: Vec<Hostile>,
}

impl Issuer {
    /// Tokens that a verifier for `audience` must refuse, if it accepts only RS256 and tokens of the default size. They grant `scope`, so that
    /// each is refused only for what is wrong with it. Publish [`useless_keys`](Self::useless_keys) first, so that the keys that they name
    /// exist. Over HTTP, some do not arrive as they are: see [`Hostile::in_header`].
    ///
    /// # Errors
    ///
    /// If every key is withdrawn, or no key for the attacker can be generated.
    pub fn hostile_tokens(&self, audience: &str, scope: &str) -> io::Result<Vec<Hostile>> {
        let mut forger = Forger { issuer: self, audience, scope, made: Vec::new() };
        forger.algorithms()?;
        forger.keys()?;
        forger.headers()?;
        forger.forms()?;
        forger.encodings()?;
        forger.payloads()?;
        forger.claims()?;
        Ok(forger.made)
    }

    /// Valid tokens for `audience` without `scope`, some with a lookalike of it: they must get 403, not 401.
    ///
    /// # Errors
    ///
    /// If every key is withdrawn.
    pub fn tokens_without_scope(&self, audience: &str, scope: &str) -> io::Result<Vec<Hostile>> {
        let lookalikes = [
            String::new(),
            format!("{scope}all"),
            format!("x{scope}"),
            scope.to_uppercase(),
            format!("a\t{scope}"),
            format!("{scope},b"),
            format!("\"{scope}\""),
        ];
        let refused = |name: String, token: TokenBuilder<'_>| Ok(Hostile::new("insufficient_scope", name, token.sign()?));
        let mut made = lookalikes
            .iter()
            .map(|text| refused(format!("scope {text:?} where {scope} is required"), self.token(audience).scope(text)))
            .collect::<io::Result<Vec<_>>>()?;
        made.push(refused("no scope at all".to_owned(), self.token(audience).without("scope"))?);
        Ok(made)
    }

    /// Keys that a verifier must not use: for another use or algorithm, too small, or of an unsupported type.
    ///
    /// # Errors
    ///
    /// If every key is withdrawn.
    pub fn useless_keys(&self) -> io::Result<Vec<Value>> {
        let pair = self.pair()?;
        let n = pair.public_key().modulus().big_endian_without_leading_zero();
        let rsa = |kid: &str, n: &[u8], e: &[u8], members: &Value| {
            let mut jwk = json!({ "kty": "RSA", "kid": kid, "n": encode(n), "e": encode(e) });
            for (name, value) in members.as_object().into_iter().flatten() {
                jwk[name] = value.clone();
            }
            jwk
        };
        Ok(vec![
            rsa("for-ps256", n, &[1, 0, 1], &json!({ "alg": "PS256" })),
            rsa("for-encryption", n, &[1, 0, 1], &json!({ "alg": "RS256", "use": "enc" })),
            rsa("key-ops-encrypt", n, &[1, 0, 1], &json!({ "alg": "RS256", "key_ops": ["encrypt"] })),
            rsa("exponent-1", n, &[1], &json!({ "alg": "RS256" })),
            rsa("1024-bits", &n[..128], &[1, 0, 1], &json!({ "alg": "RS256" })),
            json!({ "kty": "oct", "kid": "symmetric", "alg": "HS256", "k": encode("secret") }),
            json!({ "kty": "OKP", "crv": "Ed448", "kid": "ed448", "x": encode([1; 57]) }),
            json!({ "kty": "AKP", "alg": "ML-DSA-65", "kid": "ml-dsa", "pub": encode([1; 1952]) }),
        ])
    }
}

impl<'a> Forger<'a> {
    fn good(&self) -> TokenBuilder<'a> {
        self.issuer.token(self.audience).scope(self.scope)
    }

    fn add(&mut self, code: &'static str, name: impl Into<String>, token: impl Into<String>) {
        self.made.push(Hostile::new(code, name.into(), token.into()));
    }

    /// Adds a good token with one change, signed by the issuer.
    fn sign(
        &mut self,
        code: &'static str,
        name: impl Into<String>,
        change: impl FnOnce(TokenBuilder<'a>) -> TokenBuilder<'a>,
    ) -> io::Result<()> {
        let token = change(self.good()).sign()?;
        self.add(code, name, token);
        Ok(())
    }

    /// Adds a good token with this text as a further member of its claims.
    fn insert(&mut self, code: &'static str, name: impl Into<String>, without: &str, member: &[u8]) -> io::Result<()> {
        let mut payload = self.good().without(without).claims_text().into_bytes();
        payload.pop();
        payload.extend_from_slice(b",");
        payload.extend_from_slice(member);
        payload.extend_from_slice(b"}");
        let token = self.issuer.sign(self.good().header_text(), payload)?;
        self.add(code, name, token);
        Ok(())
    }

    /// No algorithm, or one that uses the public key as a secret: CVE-2015-2951, CVE-2016-10555.
    fn algorithms(&mut self) -> io::Result<()> {
        let payload = encode(self.good().claims_text());
        for alg in ["none", "None", "NONE", "nOnE", "noNE", "", "rs256", "RS384", "PS256", "ES256", "EdDSA", "dir"] {
            let with_kid = self.good().header("alg", alg);
            for (header, kid) in [(with_kid.header_text(), "a kid"), (with_kid.clone().without_header("kid").header_text(), "no kid")] {
                self.add("algorithm_not_allowed", format!("alg {alg:?} with {kid}, unsigned"), format!("{}.{payload}.", encode(&header)));
                let signed = self.issuer.sign(&header, self.good().claims_text())?;
                self.add("algorithm_not_allowed", format!("alg {alg:?} with {kid}, signed by RS256"), signed);
            }
        }
        let pair = self.issuer.pair()?;
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(io::Error::other)?;
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64_STANDARD.encode(der.as_ref()));
        let modulus = pair.public_key().modulus().big_endian_without_leading_zero();
        let jwk = self.issuer.published().keys.last().map(|key| json!(key.public).to_string()).unwrap_or_default();
        let signed = format!("{}.{payload}", encode(self.good().header("alg", "HS256").header_text()));
        for (name, secret) in
            [("DER", der.as_ref()), ("PEM", pem.as_bytes()), ("modulus", modulus), ("JWK", jwk.as_bytes()), ("nothing", b"")]
        {
            let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
            self.add("algorithm_not_allowed", format!("HS256 keyed with the public key as {name}"), format!("{signed}.{}", encode(mac)));
        }
        self.sign("algorithm_not_allowed", "no alg", |token| token.without_header("alg"))?;
        self.sign("malformed", "alg as a list", |token| token.header("alg", json!(["RS256"])))
    }

    /// A key other than the one that the issuer publishes under that kid: CVE-2018-0114, CVE-2026-27962.
    fn keys(&mut self) -> io::Result<()> {
        let evil = RsaKeyPair::generate(KeySize::Rsa2048).map_err(io::Error::other)?;
        let public = evil.public_key();
        let (n, e) = (public.modulus().big_endian_without_leading_zero(), public.exponent().big_endian_without_leading_zero());
        let jwk = json!({ "kty": "RSA", "alg": "RS256", "kid": "evil", "n": encode(n), "e": encode(e) });
        let address = format!("{}/evil/keys", self.issuer.url());
        let payload = encode(self.good().claims_text());
        for (name, value) in [("jwk", jwk), ("jku", json!(address)), ("x5u", json!(address)), ("x5c", json!(["MIIB"]))] {
            for (token, code) in [(self.good(), "bad_signature"), (self.good().header("kid", "evil"), "unknown_key")] {
                let signed = format!("{}.{payload}", encode(token.header(name, value.clone()).header_text()));
                self.add(code, format!("contains its own key in {name}"), sign(&evil, &signature::RSA_PKCS1_SHA256, &signed)?);
            }
        }
        let header = encode(self.good().header_text());
        self.add(
            "bad_signature",
            "the right kid and the wrong key",
            sign(&evil, &signature::RSA_PKCS1_SHA256, &format!("{header}.{payload}"))?,
        );
        for key in self.issuer.useless_keys()? {
            let kid = key["kid"].clone();
            self.sign("unknown_key", format!("names a key that is not for RS256 signatures: {kid}"), |token| token.header("kid", kid))?;
        }
        for (name, padding) in [("SHA-512", &signature::RSA_PKCS1_SHA512), ("SHA-384", &signature::RSA_PKCS1_SHA384)] {
            let token = self.issuer.sign_by(padding, &header, &payload)?;
            self.add("bad_signature", format!("signed by PKCS #1 v1.5 with {name}"), token);
        }
        self.add("bad_signature", "signed by PSS", self.issuer.sign_by(&signature::RSA_PSS_SHA256, &header, &payload)?);
        for (name, length) in [("a signature of zeros", 256), ("a null signature", 1), ("a signature of 4,096 zeros", 4096)] {
            self.add("bad_signature", name, format!("{header}.{payload}.{}", encode(vec![0; length])));
        }
        let token = self.issuer.sign_encoded(&header, &payload)?;
        self.add("bad_signature", "a signature with its end cut off", &token[..token.len() - 6]);
        let other = encode(self.good().claim("sub", "admin").claims_text());
        self.add("bad_signature", "claims changed after signing", token.replace(&payload, &other));
        Ok(())
    }

    fn headers(&mut self) -> io::Result<()> {
        for kid in ["", "unknown", "../../dev/null", "x' UNION SELECT '1';--", "| sleep 10", "\u{0}", "\r\nx: y"] {
            self.sign("unknown_key", format!("kid {kid:?}"), |token| token.header("kid", kid))?;
        }
        self.sign("malformed", "no kid", |token| token.without_header("kid"))?;
        for kid in [json!(null), json!(1), json!(["one"])] {
            self.sign("malformed", format!("kid {kid}"), |token| token.header("kid", kid))?;
        }
        self.sign("too_large", "a kid of 1 MB", |token| token.header("kid", "k".repeat(1_000_000)))?;
        for (name, value) in
            [("crit", json!(["exp"])), ("crit", json!([])), ("crit", json!(null)), ("b64", json!(false)), ("zip", json!("DEF"))]
        {
            self.sign("critical", format!("{name}: {value}"), |token| token.header(name, value))?;
        }
        for typ in ["JWT", "", "logout+jwt", "dpop+jwt", "secevent+jwt", "at+jwt2"] {
            self.sign("wrong_type", format!("typ {typ:?}: another kind of token"), |token| token.header("typ", typ))?;
        }
        self.sign("wrong_type", "no typ: an ID token", |token| token.without_header("typ"))
    }

    /// A wrong number of parts, or another serialisation: RFC 7515 section 7.
    fn forms(&mut self) -> io::Result<()> {
        let good = self.good().sign()?;
        let parts: Vec<&str> = good.split('.').collect();
        let [header, payload, signature] = parts[..] else { return Ok(()) };
        let json = json!({ "protected": header, "payload": payload, "signature": signature });
        for (name, token) in [
            ("empty", String::new()),
            ("dots", "..".to_owned()),
            ("one part", header.to_owned()),
            ("two parts", format!("{header}.{payload}")),
            ("four parts", format!("{good}.{signature}")),
            ("five parts, as a JWE", format!("{header}.{payload}.{signature}.{payload}.{signature}")),
            ("JSON serialisation", json.to_string()),
            ("no header", format!(".{payload}.{signature}")),
            ("no signature", format!("{header}.{payload}.")),
        ] {
            self.add("malformed", name, token);
        }
        let nested = self.issuer.sign(self.good().header("cty", "JWT").header_text(), &good)?;
        self.add("malformed", "a token within a token", nested);
        self.add("malformed", "no claims", self.issuer.sign(self.good().header_text(), "")?);
        self.add("too_large", "a million dots", ".".repeat(1_000_000));
        self.sign("too_large", "more than 16 KiB", |token| token.claim("x", "y".repeat(16_000)))
    }

    /// Not base64url without padding: RFC 7515 section 2.
    fn encodings(&mut self) -> io::Result<()> {
        let good = self.good().sign()?;
        let (header, payload) = (encode(self.good().header_text()), encode(self.good().claims_text()));
        let (signed, signature) = good.rsplit_once('.').unwrap_or_default();
        let cut = &signature[..signature.len() - 1];
        // The last character of an encoded signature of 256 bytes has four unused bits, so it is A, Q, g or w. A decoder that ignores those
        // bits reads the next letter as the same value.
        let spare: String = signature.chars().last().and_then(|last| char::from_u32(u32::from(last) + 1)).into_iter().collect();
        for (name, token) in [
            ("padding at the end", format!("{good}=")),
            ("a space before it", format!(" {good}")),
            ("a space after it", format!("{good} ")),
            ("a line break after it", format!("{good}\n")),
            ("the other alphabet", self.in_the_other_alphabet()?),
            ("a character outside the alphabet", format!("{signed}.{cut}?")),
            ("unused bits that are set", format!("{signed}.{cut}{spare}")),
            ("a padded header", self.issuer.sign_encoded(&format!("{header}="), &payload)?),
            ("padded claims", self.issuer.sign_encoded(&header, &format!("{payload}="))?),
            ("a line break within the claims", self.issuer.sign_encoded(&header, &format!("{payload}\n"))?),
        ] {
            self.add("malformed", name, token);
        }
        Ok(())
    }

    /// A good token with its signature in the standard alphabet of base64 (RFC 4648 section 4).
    fn in_the_other_alphabet(&self) -> io::Result<String> {
        loop {
            let good = self.good().sign()?;
            let (signed, signature) = good.rsplit_once('.').unwrap_or_default();
            // One signature in fifty thousand is the same in both alphabets.
            if signature.contains(['-', '_']) {
                return Ok(format!("{signed}.{}", signature.replace('-', "+").replace('_', "/")));
            }
        }
    }

    /// Claims that two readers could interpret differently, or that none should accept.
    fn payloads(&mut self) -> io::Result<()> {
        let header = self.good().header_text();
        let claims = self.good().claims_text();
        for payload in ["null", "[]", "1", "\"x\"", "{", "{}{}", "{} x", "\u{feff}{}"] {
            self.add("malformed", format!("claims {payload:?}"), self.issuer.sign(&header, payload)?);
            self.add("malformed", format!("header {payload:?}"), self.issuer.sign(payload, &claims)?);
        }
        let deep = format!("\"x\":{}{}", "[".repeat(2_000), "]".repeat(2_000));
        let members: [(&str, &[u8]); 11] = [
            ("aud twice", br#""aud":"https://x.example""#),
            ("aud twice, once escaped", br#""\u0061ud":"https://x.example""#),
            ("sub twice", br#""sub":"admin""#),
            ("exp twice, once escaped", br#""e\u0078p":9999999999"#),
            ("a custom claim twice", br#""x":1,"x":2"#),
            ("a claim twice within a claim", br#""x":{"y":1,"y":2}"#),
            ("a name that a JSON library uses internally", br#""$serde_json::private::RawValue":"{}""#),
            ("the same for numbers", br#""$serde_json::private::Number":"1""#),
            ("bytes that are not UTF-8", b"\"x\":\"\xff\""),
            ("half a surrogate pair", br#""x":"\ud800""#),
            ("arrays without end", deep.as_bytes()),
        ];
        for (name, member) in members {
            self.insert("malformed", name, "", member)?;
        }
        let twice = format!("{},\"alg\":\"none\"}}", header.trim_end_matches('}'));
        self.add("malformed", "alg twice", self.issuer.sign(twice, claims)?);
        for claim in ["exp", "iat", "nbf"] {
            for value in ["\"9999999999\"", "9999999999.5", "9999999999.0", "-1", "-0", "1e400", "9223372036854775808", "null", "[]"] {
                self.insert("malformed", format!("{claim} as {value}"), claim, format!("\"{claim}\":{value}").as_bytes())?;
            }
        }
        Ok(())
    }

    fn claims(&mut self) -> io::Result<()> {
        let now = self.issuer.clock().now().seconds();
        let url = self.issuer.url();
        for claim in ["iss", "aud", "exp", "iat", "sub", "client_id", "jti"] {
            self.sign("missing_claim", format!("no {claim}"), |token| token.without(claim))?;
        }
        for claim in ["sub", "client_id", "jti"] {
            self.sign("bad_claim", format!("an empty {claim}"), |token| token.claim(claim, ""))?;
        }
        self.sign("expired", "expired for longer than any leeway", |token| token.claim("exp", now - 300))?;
        self.sign("expired", "expired since 1970", |token| token.claim("exp", 0))?;
        for claim in ["nbf", "iat"] {
            self.sign("not_yet_valid", format!("{claim} an hour ahead"), |token| token.claim(claim, now + 3600))?;
        }
        for issuer in [format!("{url}/"), url.to_uppercase(), "https://evil.example".to_owned(), String::new(), format!(" {url}")] {
            self.sign("wrong_issuer", format!("iss {issuer:?}"), |token| token.claim("iss", issuer))?;
        }
        self.sign("malformed", "iss as a list", |token| token.claim("iss", json!([url])))?;
        let mut prefix = self.audience.to_owned();
        prefix.pop();
        for audience in [json!([]), json!(["https://x.example"]), json!(prefix), json!(format!("{}/", self.audience)), json!("")] {
            self.sign("wrong_audience", format!("aud {audience}"), |token| token.claim("aud", audience))?;
        }
        for audience in [json!(1), json!({}), json!([self.audience, 1]), json!(true)] {
            self.sign("malformed", format!("aud {audience}"), |token| token.claim("aud", audience))?;
        }
        self.sign("malformed", "scope as a list", |token| token.claim("scope", json!(["orders:read"])))?;
        self.sign("binding_required", "bound to a key without a proof", |token| token.claim("cnf", json!({ "jkt": "x" })))
    }
}
