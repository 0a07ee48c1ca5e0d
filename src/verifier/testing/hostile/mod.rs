//! Hostile tokens, each with the reason for which it must be refused.

mod algorithms;
mod claims;
mod forms;
mod keys;
mod payloads;

use std::io;

use aws_lc_rs::signature::KeyPair;
use serde_json::{Value, json};

use super::{Issuer, TokenBuilder, published::encode};

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
    /// The party that can make it.
    pub made_by: MadeBy,
}

/// The party that can make a hostile token. This decides what an API that accepts it gives away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MadeBy {
    /// Anyone, without a token of the issuer.
    Anyone,
    /// The issuer, for another purpose: for another API, of another kind, or for another time. The party that received it can send it here.
    AnotherPurpose,
    /// Anyone who has a valid token, by encoding it in another way. It says what the valid one says.
    Reencoding,
    /// Only the issuer, by a mistake of its own.
    IssuerMistake,
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
    fn new(code: &'static str, name: String, token: String, made_by: MadeBy) -> Self {
        Self { name, in_header: InHeader::of(&token), token, code, made_by }
    }

    /// A valid token of the issuer that lacks the scope which an operation needs.
    #[must_use]
    pub fn without_scope(name: String, token: String) -> Self {
        Self::new("insufficient_scope", name, token, MadeBy::AnotherPurpose)
    }
}

/// Collects the hostile tokens.
struct Forger<'a> {
    issuer: &'a Issuer,
    audience: &'a str,
    scope: &'a str,
    /// The party that can make the tokens that are added next.
    by: MadeBy,
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
        let mut forger = Forger { issuer: self, audience, scope, by: MadeBy::Anyone, made: Vec::new() };
        forger.algorithms()?;
        forger.shared_secrets()?;
        forger.keys()?;
        forger.signatures()?;
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
            (MadeBy::AnotherPurpose, String::new()),
            (MadeBy::AnotherPurpose, format!("{scope}all")),
            (MadeBy::AnotherPurpose, format!("x{scope}")),
            (MadeBy::AnotherPurpose, scope.to_uppercase()),
            // No issuer writes these: a reader of scopes that is not strict finds the required one in them.
            (MadeBy::IssuerMistake, format!("a\t{scope}")),
            (MadeBy::IssuerMistake, format!("{scope},b")),
            (MadeBy::IssuerMistake, format!("\"{scope}\"")),
        ];
        // That of an upper-case scope is the scope itself.
        let lookalikes = lookalikes.into_iter().filter(|(_, text)| text != scope);
        let refused = |made_by, name, token: TokenBuilder<'_>| Ok(Hostile::new("insufficient_scope", name, token.sign()?, made_by));
        let mut made = lookalikes
            .map(|(by, text)| refused(by, format!("scope {text:?} where {scope} is required"), self.token(audience).scope(&text)))
            .collect::<io::Result<Vec<_>>>()?;
        made.push(refused(MadeBy::AnotherPurpose, "no scope at all".to_owned(), self.token(audience).without("scope"))?);
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
        self.made.push(Hostile::new(code, name.into(), token.into(), self.by));
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
}
