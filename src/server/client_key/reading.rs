//! Reads a client's public key from a file's content.

use openssl::{pkey::PKey, rsa::Rsa, x509::X509};

use super::{ClientKey, pem};
use crate::{
    jwt::{NotPublic, SingleKey},
    protocol::{Algorithm, KeyId, Malformed, PublicKey},
};

/// Why a text is not the public key of a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAClientKey {
    /// It is longer than any public key.
    #[error("it is longer than 64 KiB, which no public key is")]
    TooLong,
    /// It holds a private key.
    #[error(
        "it is a private key, which the server must not see: give its public half alone, for example as `openssl pkey -in FILE -pubout` prints it, and keep the private key at the app"
    )]
    Private,
    /// It is a set of keys.
    #[error("it is a set of keys: give one key, an element of `keys`")]
    Set,
    /// It is not a key.
    #[error("it is neither a JWK nor a public key or certificate in PEM")]
    NoKey,
    /// It is a key of another type or size.
    #[error("its type or size is not supported: use an RSA key of 2,048, 3,072 or 4,096 bits, a key on the curve P-256, or an Ed25519 key")]
    Unsupported,
    /// It is a JWK that cannot be used.
    #[error("this JWK cannot be used: {0}")]
    Jwk(&'static str),
    /// The key is not for the algorithm.
    #[error("a key of this type is not for {0}")]
    OtherAlgorithm(Algorithm),
    /// It breaks another rule.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl ClientKey {
    /// Maximum length of a file.
    pub(crate) const LONGEST_FILE: usize = 64 * 1024;

    /// Reads a JWK (RFC 7517 section 4), or a public key or certificate in PEM. `id` replaces that of the key, and `algorithm` the usual one of
    /// its type.
    ///
    /// # Errors
    ///
    /// If the text is not one public key, or one that is not supported.
    pub fn read(text: &str, id: Option<KeyId>, algorithm: Option<Algorithm>) -> Result<Self, NotAClientKey> {
        let (kid, key, usual) = read_any(text)?;
        let algorithm = algorithm.unwrap_or(usual);
        if !key.algorithms().contains(&algorithm) {
            return Err(NotAClientKey::OtherAlgorithm(algorithm));
        }
        let id = match (id, kid) {
            (None, Some(kid)) => Some(kid.parse()?),
            (id, _) => id,
        };
        Ok(Self::new(id, algorithm, key)?)
    }
}

fn read_any(text: &str) -> Result<(Option<String>, PublicKey, Algorithm), NotAClientKey> {
    if text.len() > ClientKey::LONGEST_FILE {
        return Err(NotAClientKey::TooLong);
    }
    let text = text.trim();
    if text.starts_with('{') {
        return read_jwk(text);
    }
    if text.contains("PRIVATE KEY-----") {
        return Err(NotAClientKey::Private);
    }
    let pem = text.as_bytes();
    let from_certificate = || X509::from_pem(pem).and_then(|certificate| certificate.public_key());
    let from_rsa = || Rsa::public_key_from_pem_pkcs1(pem).and_then(PKey::from_rsa);
    let key = PKey::public_key_from_pem(pem).or_else(|_| from_rsa()).or_else(|_| from_certificate()).map_err(|_| NotAClientKey::NoKey)?;
    let (key, algorithm) = pem::public_key(&key).ok().flatten().ok_or(NotAClientKey::Unsupported)?;
    Ok((None, key, algorithm))
}

fn read_jwk(json: &str) -> Result<(Option<String>, PublicKey, Algorithm), NotAClientKey> {
    match SingleKey::read(json) {
        Ok(SingleKey { kid, key, algorithm }) => Ok((kid, key, algorithm)),
        Err(NotPublic::Private) => Err(NotAClientKey::Private),
        Err(NotPublic::Unusable(why)) => {
            let is_set = serde_json::from_str::<serde_json::Value>(json).is_ok_and(|set| set.get("keys").is_some());
            Err(if is_set { NotAClientKey::Set } else { NotAClientKey::Jwk(why) })
        }
    }
}

#[cfg(test)]
mod tests {
    use openssl::{
        ec::{EcGroup, EcKey},
        nid::Nid,
        pkey::{PKey, Private},
    };
    use serde_json::json;

    use super::*;

    fn pem(key: &PKey<Private>) -> String {
        String::from_utf8(key.public_key_to_pem().unwrap()).unwrap()
    }

    fn on_curve(curve: Nid) -> PKey<Private> {
        PKey::from_ec_key(EcKey::generate(&EcGroup::from_curve_name(curve).unwrap()).unwrap()).unwrap()
    }

    fn read(text: &str) -> Result<ClientKey, NotAClientKey> {
        ClientKey::read(text, None, None)
    }

    #[test]
    fn pk2_a_public_key_is_read_from_pem_and_from_its_jwk_as_the_same_key() {
        let rsa = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let pkcs1 = String::from_utf8(rsa.rsa().unwrap().public_key_to_pem_pkcs1().unwrap()).unwrap();
        for (text, algorithm) in [
            (pem(&rsa), Algorithm::Rs256),
            (pkcs1, Algorithm::Rs256),
            (pem(&on_curve(Nid::X9_62_PRIME256V1)), Algorithm::Es256),
            (pem(&PKey::generate_ed25519().unwrap()), Algorithm::EdDsa),
        ] {
            let key = read(&format!("\n{text}\n")).unwrap();
            assert_eq!((key.algorithm(), key.id().as_str()), (algorithm, key.thumbprint()));
            let of_jwk = read(&key.to_json()).unwrap();
            assert_eq!(of_jwk.to_json(), key.to_json());
            assert_eq!(key.to_json().parse::<ClientKey>().unwrap().to_json(), key.to_json());
        }
        let ps256 = ClientKey::read(&pem(&rsa), Some("mine".parse().unwrap()), Some(Algorithm::Ps256)).unwrap();
        assert_eq!((ps256.algorithm(), ps256.id().as_str()), (Algorithm::Ps256, "mine"));
        for other in [Algorithm::Es256, Algorithm::Rs512] {
            assert!(ClientKey::read(&pem(&rsa), None, Some(other)).is_err(), "{other}");
        }
    }

    #[test]
    fn pk2_what_is_not_one_public_key_is_refused_with_a_reason() {
        let key = on_curve(Nid::X9_62_PRIME256V1);
        let private = String::from_utf8(key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        let jwk: serde_json::Value = serde_json::from_str(&read(&pem(&key)).unwrap().to_json()).unwrap();
        let with = |name: &str, value: serde_json::Value| {
            let mut jwk = jwk.clone();
            jwk[name] = value;
            jwk.to_string()
        };
        let malformed = |text: &str| matches!(read(text), Err(NotAClientKey::Malformed(_)));
        assert_eq!(read(&private).unwrap_err(), NotAClientKey::Private);
        assert_eq!(read(&with("d", json!("AQAB"))).unwrap_err(), NotAClientKey::Private);
        assert_eq!(read(&json!({ "kty": "oct", "k": "AQAB" }).to_string()).unwrap_err(), NotAClientKey::Private);
        assert_eq!(read(&json!({ "keys": [jwk] }).to_string()).unwrap_err(), NotAClientKey::Set);
        assert_eq!(read(&with("use", json!("enc"))).unwrap_err(), NotAClientKey::Jwk("its use is not sig"));
        assert_eq!(read(&with("kid", json!(1))).unwrap_err(), NotAClientKey::Jwk("its kid is not a text"));
        assert!(malformed(&with("kid", json!("a b"))) && malformed(&with("kid", json!(""))));
        assert_eq!(read(&pem(&on_curve(Nid::SECP384R1))).unwrap_err(), NotAClientKey::Unsupported);
        assert_eq!(read(&pem(&PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap())).unwrap_err(), NotAClientKey::Unsupported);
        for none in ["", "x", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"] {
            assert_eq!(read(none).unwrap_err(), NotAClientKey::NoKey, "{none:?}");
        }
        assert!(matches!(read("{}"), Err(NotAClientKey::Jwk(_))));
        assert_eq!(read(&"x".repeat(ClientKey::LONGEST_FILE + 1)).unwrap_err(), NotAClientKey::TooLong);
    }
}
