//! New private keys.

use aws_lc_rs::{
    error::Unspecified,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use rsa::pkcs8::EncodePrivateKey;
use zeroize::Zeroizing;

use crate::{entropy::SystemRng, protocol::Algorithm};

/// Generates a private key as PKCS#8. An RSA key has `rsa_bits` bits and e = 65537.
pub(crate) fn generate_pkcs8(algorithm: Algorithm, rsa_bits: usize) -> Result<Zeroizing<Vec<u8>>, String> {
    match algorithm {
        Algorithm::Rs256 | Algorithm::Ps256 => {
            let key = rsa::PrivateKey::new(&mut SystemRng, rsa_bits).map_err(|error| error.to_string())?;
            let document = key.to_pkcs8_der().map_err(|error| error.to_string())?;
            Ok(Zeroizing::new(document.as_bytes().to_vec()))
        }
        Algorithm::Es256 => copied(EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())),
        Algorithm::EdDsa => copied(Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())),
        other => Err(format!("nothing is signed with {other} here")),
    }
}

fn copied(document: Result<impl AsRef<[u8]>, Unspecified>) -> Result<Zeroizing<Vec<u8>>, String> {
    let document = document.map_err(|error| error.to_string())?;
    Ok(Zeroizing::new(document.as_ref().to_vec()))
}
