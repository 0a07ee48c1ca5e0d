//! JWTs by which clients authenticate, signed by OpenSSL.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use openssl::{
    ec::{EcGroup, EcKey},
    ecdsa::EcdsaSig,
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    rsa::{Padding, Rsa},
    sign::{RsaPssSaltlen, Signer},
};
use sealwright::server::commands::ClientKey;
use serde_json::{Value, json};

/// The key of a client, with its private half.
pub(crate) struct AppKey {
    /// The `alg` of what it signs.
    pub(crate) algorithm: &'static str,
    private: PKey<Private>,
}

impl AppKey {
    /// A new key for RS256, PS256, ES256 or Ed25519.
    pub(crate) fn new(algorithm: &'static str) -> Self {
        let private = match algorithm {
            "RS256" | "PS256" => PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap(),
            "ES256" => PKey::from_ec_key(EcKey::generate(&EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap()).unwrap()).unwrap(),
            _ => PKey::generate_ed25519().unwrap(),
        };
        Self { algorithm, private }
    }

    /// A private key in PEM.
    pub(crate) fn from_pem(algorithm: &'static str, pem: &[u8]) -> Self {
        Self { algorithm, private: PKey::private_key_from_pem(pem).unwrap() }
    }

    /// PKCS#8 in PEM.
    pub(crate) fn private_pem(&self) -> String {
        String::from_utf8(self.private.private_key_to_pem_pkcs8().unwrap()).unwrap()
    }

    /// PKCS#1 or SEC 1 in PEM, as older programs write keys.
    pub(crate) fn private_pem_in_older_form(&self) -> String {
        let pem = match self.algorithm {
            "ES256" => self.private.ec_key().unwrap().private_key_to_pem(),
            _ => self.private.rsa().unwrap().private_key_to_pem(),
        };
        String::from_utf8(pem.unwrap()).unwrap()
    }

    pub(crate) fn public_pem(&self) -> String {
        String::from_utf8(self.private.public_key_to_pem().unwrap()).unwrap()
    }

    pub(crate) fn public(&self) -> ClientKey {
        ClientKey::read(&self.public_pem(), None, Some(self.algorithm.parse().unwrap())).unwrap()
    }

    /// The thumbprint.
    pub(crate) fn kid(&self) -> String {
        self.public().id().to_string()
    }

    /// An assertion with the right header.
    pub(crate) fn assertion(&self, claims: &Value) -> String {
        self.signed(&json!({ "alg": self.algorithm, "kid": self.kid(), "typ": "JWT" }), claims)
    }

    /// The same without a `kid`.
    pub(crate) fn anonymous_assertion(&self, claims: &Value) -> String {
        self.signed(&json!({ "alg": self.algorithm }), claims)
    }

    /// A JWT with these parts.
    pub(crate) fn signed(&self, header: &Value, claims: &Value) -> String {
        self.signed_text(&header.to_string(), &claims.to_string())
    }

    pub(crate) fn signed_text(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(claims));
        let signature = self.sign(message.as_bytes());
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        if self.algorithm == "Ed25519" {
            return Signer::new_without_digest(&self.private).unwrap().sign_oneshot_to_vec(message).unwrap();
        }
        let mut signer = Signer::new(MessageDigest::sha256(), &self.private).unwrap();
        if self.algorithm == "PS256" {
            signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
            signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).unwrap();
        }
        let signature = signer.sign_oneshot_to_vec(message).unwrap();
        if self.algorithm != "ES256" {
            return signature;
        }
        // A JWS has r and s, and not DER (RFC 7518 section 3.4).
        let pair = EcdsaSig::from_der(&signature).unwrap();
        [pair.r(), pair.s()].iter().flat_map(|number| number.to_vec_padded(32).unwrap()).collect()
    }
}

/// The form parameters of an assertion.
pub(crate) fn by_assertion(assertion: &str) -> String {
    format!("client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion={assertion}")
}

/// The claims of an assertion of `client` for `issuer`, made at `now` in seconds, with this `jti`.
pub(crate) fn assertion_claims(client: &str, issuer: &str, now: i64, jti: &str) -> Value {
    json!({ "iss": client, "sub": client, "aud": issuer, "iat": now, "exp": now + 60, "jti": jti })
}
