//! Keys that have no owner. Where a client or its key is unknown, a signature is checked with one of them, so that the time of the answer
//! does not tell which clients exist.

use std::sync::LazyLock;

use crate::{
    jwt::VerificationKey,
    protocol::{Algorithm, KeyMembers},
};

/// The modulus of RFC 7638 section 3.1.
const N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs\
     tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n9\
     1CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
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
const RSA: KeyMembers<'_> = KeyMembers { kty: Some("RSA"), crv: None, n: Some(N), e: Some("AQAB"), x: None, y: None };

static RS256: LazyLock<VerificationKey> = LazyLock::new(|| read(RSA, Algorithm::Rs256));
static PS256: LazyLock<VerificationKey> = LazyLock::new(|| read(RSA, Algorithm::Ps256));
static ES256: LazyLock<VerificationKey> = LazyLock::new(|| read(EC, Algorithm::Es256));
static ED25519: LazyLock<VerificationKey> = LazyLock::new(|| read(OKP, Algorithm::EdDsa));

/// The key for an algorithm of assertions.
pub(super) fn key(algorithm: Algorithm) -> &'static VerificationKey {
    match algorithm {
        Algorithm::Es256 => &ES256,
        Algorithm::EdDsa => &ED25519,
        Algorithm::Ps256 => &PS256,
        _ => &RS256,
    }
}

fn read(members: KeyMembers<'_>, algorithm: Algorithm) -> VerificationKey {
    let key = members.read().expect("the keys of the RFCs are valid");
    VerificationKey::of(&key, algorithm).expect("the keys of the RFCs are valid")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::client_key::ClientKey;

    #[test]
    fn pk1_there_is_a_decoy_for_each_algorithm_of_assertions() {
        for algorithm in ClientKey::ALGORITHMS {
            assert_eq!(key(algorithm).algorithm(), algorithm);
        }
    }
}
