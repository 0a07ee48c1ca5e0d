//! Reads a private key from PEM or DER. OpenSSL and aws-lc parse; this decides which of their readers to ask, and what to say if none can read it.

use aws_lc_rs::{encoding::AsBigEndian, signature::Ed25519KeyPair};
use openssl::{
    error::ErrorStack,
    pkcs12::Pkcs12,
    pkey::{Id, PKey, Private},
    rsa::Rsa,
    x509::X509,
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};

use super::Refused;

/// Reads the private key that `content` has.
pub(super) fn read(content: &[u8], passphrase: Option<&[u8]>) -> Result<PKey<Private>, Refused> {
    let is_pem = contains(content, "-----BEGIN ");
    let count = count(content, "PRIVATE KEY-----") / 2;
    if is_pem && count > 1 {
        return Err(Refused::SeveralKeys(count));
    }
    let mut asked = false;
    let answer = |buffer: &mut [u8]| {
        asked = true;
        let passphrase = passphrase.ok_or_else(ErrorStack::get)?;
        buffer.get_mut(..passphrase.len()).ok_or_else(ErrorStack::get)?.copy_from_slice(passphrase);
        Ok(passphrase.len())
    };
    let key =
        if is_pem { PKey::private_key_from_pem_callback(content, answer) } else { PKey::private_key_from_pkcs8_callback(content, answer) };
    match key {
        Ok(key) => Ok(key),
        Err(_) if asked && passphrase.is_none() => Err(Refused::Encrypted),
        Err(_) if asked => Err(Refused::WrongPassphrase),
        Err(_) => read_unencrypted(content, is_pem).ok_or_else(|| why_not(content)),
    }
}

/// Reads what OpenSSL's reader of encrypted keys and PEM does not.
fn read_unencrypted(content: &[u8], is_pem: bool) -> Option<PKey<Private>> {
    if !is_pem && let Ok(key) = PKey::private_key_from_der(content) {
        return Some(key);
    }
    // PKCS#8 with the public key beside the private one (RFC 5958), as Rust libraries write Ed25519 keys.
    let pair = if is_pem {
        Ed25519KeyPair::from_pkcs8(PrivatePkcs8KeyDer::from_pem_slice(content).ok()?.secret_pkcs8_der())
    } else {
        Ed25519KeyPair::from_pkcs8(content)
    };
    let seed = pair.ok()?.seed().ok()?.as_be_bytes().ok()?;
    PKey::private_key_from_raw_bytes(seed.as_ref(), Id::ED25519).ok()
}

/// What a file contains that has no readable private key.
fn why_not(content: &[u8]) -> Refused {
    let has = |text: &str| contains(content, text);
    if has("-----BEGIN OPENSSH PRIVATE KEY-----") {
        Refused::OpenSsh
    } else if has("PRIVATE KEY-----") {
        Refused::Damaged
    } else if has("CERTIFICATE-----") || X509::from_der(content).is_ok() {
        Refused::CertificateAlone
    } else if has("PUBLIC KEY-----") || PKey::public_key_from_der(content).is_ok() || Rsa::public_key_from_der_pkcs1(content).is_ok() {
        Refused::PublicKeyAlone
    } else if Pkcs12::from_der(content).is_ok() {
        Refused::Pkcs12
    } else if content.trim_ascii_start().starts_with(b"{") {
        Refused::Json
    } else {
        Refused::NoKey
    }
}

fn contains(content: &[u8], text: &str) -> bool {
    count(content, text) > 0
}

fn count(content: &[u8], text: &str) -> usize {
    content.windows(text.len()).filter(|window| *window == text.as_bytes()).count()
}
