//! Keys that have no owner. Where a client or its key is unknown, a signature is checked with one of them, so that the time of the answer
//! does not tell which clients exist.

use std::sync::LazyLock;

use crate::{
    jwt::VerificationKey,
    protocol::{Algorithm, KeyMembers, PublicKey},
    server::client_key::ClientKey,
};

/// The keys of RFC 9449 section 4.1 and of RFC 8037 appendix A.2.
const EC: KeyMembers<'_> = KeyMembers {
    kty: Some("EC"),
    crv: Some("P-256"),
    n: None,
    e: None,
    x: Some("l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs"),
    y: Some("9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA"),
};
const OKP: KeyMembers<'_> = KeyMembers {
    kty: Some("OKP"),
    crv: Some("Ed25519"),
    n: None,
    e: None,
    x: Some("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"),
    y: None,
};
/// Of each length that the RSA key of a client may have, in bytes.
static RSA: LazyLock<[(usize, [VerificationKey; 2]); 3]> = LazyLock::new(|| {
    ClientKey::RSA_LENGTHS.map(|length| {
        // Odd, and of full length: that is all that a check of a signature asks of a modulus.
        let key = PublicKey::rsa(&vec![0xff; length], &[1, 0, 1]).expect("the length is valid");
        (length, [Algorithm::Rs256, Algorithm::Ps256].map(|algorithm| of(&key, algorithm)))
    })
});
static ES256: LazyLock<VerificationKey> = LazyLock::new(|| read(EC, Algorithm::Es256));
static ED25519: LazyLock<VerificationKey> = LazyLock::new(|| read(OKP, Algorithm::EdDsa));

/// The key for an algorithm of assertions, and for signatures of this length in bytes. No key has signatures of another length, which are refused without
/// a check.
pub(super) fn key(algorithm: Algorithm, signature_len: usize) -> &'static VerificationKey {
    match algorithm {
        Algorithm::Es256 => &ES256,
        Algorithm::EdDsa => &ED25519,
        _ => {
            let [rs256, ps256] = &RSA.iter().find(|(length, _)| *length == signature_len).unwrap_or(&RSA[0]).1;
            if algorithm == Algorithm::Ps256 { ps256 } else { rs256 }
        }
    }
}

fn read(members: KeyMembers<'_>, algorithm: Algorithm) -> VerificationKey {
    of(&members.read().expect("the keys of the RFCs are valid"), algorithm)
}

fn of(key: &PublicKey, algorithm: Algorithm) -> VerificationKey {
    VerificationKey::of(key, algorithm).expect("the keys above are valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pk1_there_is_a_decoy_for_each_algorithm_and_length_of_an_assertion() {
        for algorithm in ClientKey::ALGORITHMS {
            for length in ClientKey::RSA_LENGTHS.into_iter().chain([64, 1]) {
                assert_eq!(key(algorithm, length).algorithm(), algorithm);
            }
        }
        for (length, keys) in RSA.iter() {
            assert!(keys.iter().all(|decoy| std::ptr::eq(key(decoy.algorithm(), *length), decoy)), "{length}");
        }
    }
}
