//! A certificate of the attacker's key, as `x5c` carries it (RFC 7515 section 4.1.6).

use std::io;

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    signature::{self, KeyPair, RsaKeyPair},
};

use super::published::raw_signature;

// DER (ITU-T X.690): the tags of what a certificate consists of.
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const EXPLICIT_0: u8 = 0xa0;
/// sha256WithRSAEncryption (1.2.840.113549.1.1.11), without parameters.
const SHA256_WITH_RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00];
/// commonName (2.5.4.3).
const COMMON_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x03];

/// A certificate that the key signed itself (RFC 5280 section 4.1), valid for as long as its dates can say, in DER.
pub(super) fn self_signed(pair: &RsaKeyPair) -> io::Result<Vec<u8>> {
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(io::Error::other)?;
    let algorithm = element(SEQUENCE, &[SHA256_WITH_RSA]);
    let name = element(SEQUENCE, &[COMMON_NAME, &element(UTF8_STRING, &[b"attacker.example"])]);
    let name = element(SEQUENCE, &[&element(SET, &[&name])]);
    let validity = element(SEQUENCE, &[&element(UTC_TIME, &[b"000101000000Z"]), &element(UTC_TIME, &[b"491231235959Z"])]);
    let version_3 = element(EXPLICIT_0, &[&element(INTEGER, &[&[2]])]);
    let serial = element(INTEGER, &[&[1]]);
    let signed = element(SEQUENCE, &[&version_3, &serial, &algorithm, &name, &validity, &name, public.as_ref()]);
    let signature = raw_signature(pair, &signature::RSA_PKCS1_SHA256, &signed)?;
    // The first byte is the number of unused bits.
    let signature = element(BIT_STRING, &[&[0], &signature]);
    Ok(element(SEQUENCE, &[&signed, &algorithm, &signature]))
}

/// A tag, the length of the content, and the content.
fn element(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    let mut encoded = vec![tag];
    match u8::try_from(content.len()) {
        Ok(len) if len < 128 => encoded.push(len),
        _ => {
            let len: Vec<u8> = content.len().to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            // At most eight bytes of length.
            encoded.push(0x80 | len.len() as u8);
            encoded.extend(len);
        }
    }
    encoded.extend(content);
    encoded
}
