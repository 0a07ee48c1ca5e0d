//! A token from its text to the claims that its caller may trust.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::de::MapAccess;

use super::{
    Error, VerificationKey,
    members::{self, Members, Unwanted, next},
};
use crate::protocol::Algorithm;

/// What a caller accepts. Sizes in bytes.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub(crate) algorithms: Vec<Algorithm>,
    /// The types, in any case and without `application/` (RFC 7515 section 4.1.9). `None` accepts a header without `typ`.
    pub(crate) types: &'static [Option<&'static str>],
    pub(crate) max_len: usize,
    /// The maximum size of the header, in base64url.
    pub(crate) max_header_len: usize,
}

impl Accepted {
    fn has_type(&self, typ: Option<&str>) -> bool {
        let is = |accepted: &Option<&str>| match (accepted, typ) {
            (Some(accepted), Some(typ)) => {
                let prefix = typ.get(..12).filter(|prefix| prefix.eq_ignore_ascii_case("application/"));
                typ[prefix.map_or(0, str::len)..].eq_ignore_ascii_case(accepted)
            }
            (accepted, typ) => accepted.is_none() && typ.is_none(),
        };
        self.types.iter().any(is)
    }
}

/// The header members that are read. Members that point to a key or contain one (`jku`, `jwk`, `x5u`, `x5c`)
/// are ignored: a key is identified only by its `kid`.
#[derive(Default)]
struct Header {
    alg: Option<String>,
    kid: Option<String>,
    typ: Option<String>,
    requires_extension: bool,
}

impl Members for Header {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        match name {
            "alg" => self.alg = Some(next(map)?),
            "kid" => self.kid = Some(next(map)?),
            "typ" => self.typ = Some(next(map)?),
            // RFC 7515 section 4.1.11, RFC 7797, RFC 7516 section 4.1.3: no extension is supported, whatever the value.
            "crit" | "b64" | "zip" => {
                self.requires_extension = true;
                map.next_value::<Unwanted>()?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// The three parts of a token, each still in base64url.
pub(super) struct Parts<'t> {
    /// The signed text: header, dot, payload.
    signed: &'t str,
    header: &'t str,
    payload: &'t str,
    pub(super) signature: &'t str,
}

impl<'t> Parts<'t> {
    fn split(token: &'t str) -> Result<Self, Error> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Error::Malformed("it does not have three parts"))?;
        let (header, payload) = signed.split_once('.').ok_or(Error::Malformed("it does not have three parts"))?;
        if payload.contains('.') {
            return Err(Error::Malformed("it has more than three parts"));
        }
        Ok(Self { signed, header, payload, signature })
    }
}

fn decode(part: &str) -> Result<Vec<u8>, Error> {
    BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| Error::Malformed("a part is not base64url"))
}

fn read_claims<C: Members>(payload: &[u8]) -> Result<C, Error> {
    members::read(payload).map_err(|_| Error::Malformed("its claims are not an object with unique members of the right types"))
}

/// The claims of a token before it is checked. Use them only to choose the keys for the check.
pub(crate) fn unverified_claims<C: Members>(token: &str, max_len: usize) -> Result<C, Error> {
    if token.len() > max_len {
        return Err(Error::TooLarge);
    }
    read_claims(&decode(Parts::split(token)?.payload)?)
}

/// A token whose size, form and header are checked, and whose signature is not.
pub(crate) struct Unverified<'t> {
    pub(super) parts: Parts<'t>,
    algorithm: Algorithm,
    kid: Option<String>,
}

/// A token whose signature is checked.
pub(crate) struct Verified<'t> {
    payload: &'t str,
}

/// The claims of a token whose signature is checked. They exist only as the result of [`Verified::read`].
pub(crate) struct Signed<C> {
    claims: C,
    payload: Vec<u8>,
}

impl<'t> Unverified<'t> {
    /// Checks, in this order: size, form, algorithm, extensions, type. Each has an error of its own.
    pub(crate) fn read(token: &'t str, accepted: &Accepted) -> Result<Self, Error> {
        if token.len() > accepted.max_len {
            return Err(Error::TooLarge);
        }
        if token.find('.').unwrap_or(token.len()) > accepted.max_header_len {
            return Err(Error::TooLarge);
        }
        let parts = Parts::split(token)?;
        let header: Header =
            members::read(&decode(parts.header)?).map_err(|_| Error::Malformed("its header is not an object with unique members"))?;
        // RFC 8725 section 3.1: the algorithm is checked against a list, before a key is looked up.
        let named = header.alg.and_then(|name| name.parse().ok());
        let algorithm = named.filter(|algorithm| accepted.algorithms.contains(algorithm)).ok_or(Error::AlgorithmNotAllowed(named))?;
        if header.requires_extension {
            return Err(Error::Critical);
        }
        if !accepted.has_type(header.typ.as_deref()) {
            return Err(Error::WrongType);
        }
        Ok(Self { parts, algorithm, kid: header.kid })
    }

    pub(crate) const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The id of the key that should have signed it.
    pub(crate) fn kid(&self) -> Result<&str, Error> {
        self.kid.as_deref().ok_or(Error::Malformed("its header has no kid"))
    }

    /// Checks the signature. `key` must be for the token's algorithm.
    pub(crate) fn verify(&self, key: &VerificationKey) -> Result<Verified<'t>, Error> {
        if key.algorithm() != self.algorithm {
            return Err(Error::UnknownKey);
        }
        if self.parts.signature.is_empty() {
            return Err(Error::Malformed("it has no signature"));
        }
        let signature = decode(self.parts.signature)?;
        let genuine = key.verifies(self.parts.signed.as_bytes(), &signature);
        if genuine { Ok(Verified { payload: self.parts.payload }) } else { Err(Error::BadSignature) }
    }
}

impl Verified<'_> {
    /// Reads the claims. The caller checks them.
    pub(crate) fn read<C: Members>(&self) -> Result<Signed<C>, Error> {
        let payload = decode(self.payload)?;
        Ok(Signed { claims: read_claims(&payload)?, payload })
    }
}

impl<C> Signed<C> {
    /// The claims, and the payload as it was signed.
    pub(crate) fn into_parts(self) -> (C, Vec<u8>) {
        (self.claims, self.payload)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use serde_json::json;

    use super::*;
    use crate::jwt::KeySet;

    const ACCEPTED: fn() -> Accepted =
        || Accepted { algorithms: vec![Algorithm::EdDsa], types: &[Some("proof+jwt")], max_len: 1000, max_header_len: 100 };

    fn encode(bytes: impl AsRef<[u8]>) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    fn token(pair: &Ed25519KeyPair, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(payload));
        let signature = encode(pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn keys(pair: &Ed25519KeyPair) -> KeySet {
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "one", "x": encode(pair.public_key()) });
        KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes(), &[Algorithm::EdDsa]).unwrap()
    }

    /// Claims that no access token has.
    #[derive(Debug, Default, PartialEq)]
    struct Proof {
        htm: Option<String>,
    }

    impl Members for Proof {
        fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
            match name {
                "htm" => self.htm = Some(next(map)?),
                _ => return Ok(false),
            }
            Ok(true)
        }
    }

    fn read(token: &str, accepted: &Accepted, keys: &KeySet) -> Result<(Proof, Vec<u8>), Error> {
        let unverified = Unverified::read(token, accepted)?;
        let key = keys.find(unverified.kid()?, unverified.algorithm())?;
        Ok(unverified.verify(key)?.read::<Proof>()?.into_parts())
    }

    const HEADER: &str = r#"{"alg":"Ed25519","typ":"proof+jwt","kid":"one"}"#;
    const PAYLOAD: &str = r#"{"htm":"POST","other":[1]}"#;

    #[test]
    fn the_claims_of_any_token_are_read_as_the_callers_type_from_the_signed_bytes() {
        let pair = Ed25519KeyPair::generate().unwrap();
        let (proof, payload) = read(&token(&pair, HEADER, PAYLOAD), &ACCEPTED(), &keys(&pair)).unwrap();
        assert_eq!((proof.htm.as_deref(), payload.as_slice()), (Some("POST"), PAYLOAD.as_bytes()));
        let malformed = token(&pair, HEADER, r#"{"htm":"POST","other":{"a":1,"a":2}}"#);
        assert!(matches!(read(&malformed, &ACCEPTED(), &keys(&pair)), Err(Error::Malformed(_))), "a duplicate member at any depth");
        assert!(matches!(read(&token(&pair, HEADER, r#"{"htm":7}"#), &ACCEPTED(), &keys(&pair)), Err(Error::Malformed(_))));
    }

    #[test]
    fn a_type_is_accepted_as_the_caller_says_and_a_missing_one_only_if_it_says_so() {
        let pair = Ed25519KeyPair::generate().unwrap();
        let with_type = |typ: &str| token(&pair, &HEADER.replace("proof+jwt", typ), PAYLOAD);
        let without = token(&pair, r#"{"alg":"Ed25519","kid":"one"}"#, PAYLOAD);
        let of = |types| Accepted { types, ..ACCEPTED() };
        for (accepted, typ, expected) in [
            (of(&[Some("proof+jwt")]), with_type("PROOF+JWT"), true),
            (of(&[Some("proof+jwt")]), with_type("Application/proof+jwt"), true),
            (of(&[Some("proof+jwt")]), with_type("at+jwt"), false),
            (of(&[Some("proof+jwt")]), with_type(""), false),
            (of(&[Some("proof+jwt")]), without.clone(), false),
            (of(&[None]), without.clone(), true),
            (of(&[None]), with_type(""), false),
            (of(&[None, Some("JWT")]), with_type("jwt"), true),
            (of(&[None, Some("JWT")]), with_type("at+jwt"), false),
            (of(&[]), without, false),
        ] {
            let read = read(&typ, &accepted, &keys(&pair));
            assert_eq!(read.is_ok(), expected, "{:?}", accepted.types);
            assert!(expected || read == Err(Error::WrongType));
        }
    }

    #[test]
    fn a_token_or_a_header_beyond_the_callers_sizes_is_refused() {
        let pair = Ed25519KeyPair::generate().unwrap();
        let token = token(&pair, HEADER, PAYLOAD);
        let exact = Accepted { max_len: token.len(), max_header_len: encode(HEADER).len(), ..ACCEPTED() };
        assert!(read(&token, &exact, &keys(&pair)).is_ok());
        for short in [
            Accepted { max_len: exact.max_len - 1, ..exact.clone() },
            Accepted { max_header_len: exact.max_header_len - 1, ..exact.clone() },
        ] {
            assert_eq!(read(&token, &short, &keys(&pair)), Err(Error::TooLarge));
        }
        assert!(unverified_claims::<Proof>(&token, exact.max_len).is_ok());
        assert_eq!(unverified_claims::<Proof>(&token, exact.max_len - 1), Err(Error::TooLarge));
    }

    #[test]
    fn an_algorithm_is_refused_before_a_key_is_looked_for_and_a_key_of_another_algorithm_checks_nothing() {
        let pair = Ed25519KeyPair::generate().unwrap();
        let signed = token(&pair, HEADER, PAYLOAD);
        let rs256_alone = Accepted { algorithms: vec![Algorithm::Rs256], ..ACCEPTED() };
        assert_eq!(read(&signed, &rs256_alone, &keys(&pair)), Err(Error::AlgorithmNotAllowed(Some(Algorithm::EdDsa))));
        for unknown in ["none", "HS256", ""] {
            let token = token(&pair, &HEADER.replace("Ed25519", unknown), PAYLOAD);
            assert_eq!(read(&token, &rs256_alone, &keys(&pair)), Err(Error::AlgorithmNotAllowed(None)), "{unknown:?}");
        }

        let both = Accepted { algorithms: vec![Algorithm::Rs256, Algorithm::EdDsa], ..ACCEPTED() };
        let names_rs256 = token(&pair, &HEADER.replace("Ed25519", "RS256"), PAYLOAD);
        assert_eq!(read(&names_rs256, &both, &keys(&pair)), Err(Error::UnknownKey));
        let (keys, unverified) = (keys(&pair), Unverified::read(&names_rs256, &both).unwrap());
        assert_eq!(unverified.verify(keys.find("one", Algorithm::EdDsa).unwrap()).err(), Some(Error::UnknownKey));
    }

    #[test]
    fn a_signature_by_another_key_or_over_other_bytes_is_refused() {
        let (pair, other) = (Ed25519KeyPair::generate().unwrap(), Ed25519KeyPair::generate().unwrap());
        assert_eq!(read(&token(&other, HEADER, PAYLOAD), &ACCEPTED(), &keys(&pair)), Err(Error::BadSignature));
        let signed = token(&pair, HEADER, PAYLOAD);
        let changed = signed.replace(&encode(PAYLOAD), &encode(PAYLOAD.replace("POST", "GET")));
        assert_eq!(read(&changed, &ACCEPTED(), &keys(&pair)), Err(Error::BadSignature));
        let (unsigned, _) = signed.rsplit_once('.').unwrap();
        assert_eq!(read(&format!("{unsigned}."), &ACCEPTED(), &keys(&pair)), Err(Error::Malformed("it has no signature")));
    }
}
