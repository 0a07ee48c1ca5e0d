use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::protocol::PublicKey;

/// The thumbprint of a key, by SHA-256 and in base64url (RFC 7638 section 3).
pub(crate) fn thumbprint(key: &PublicKey) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, key.thumbprint_input().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::KeyMembers;

    #[test]
    fn the_thumbprints_of_the_rfcs_are_computed() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs\
                 tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n9\
                 1CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let rsa = KeyMembers { kty: Some("RSA"), n: Some(n), e: Some("AQAB"), ..KeyMembers::default() };
        // RFC 9449 section 4.1 has the key, section 6.1 its thumbprint.
        let (x, y) = ("l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs", "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA");
        let ec = KeyMembers { kty: Some("EC"), crv: Some("P-256"), x: Some(x), y: Some(y), ..KeyMembers::default() };
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let okp = KeyMembers { kty: Some("OKP"), crv: Some("Ed25519"), x: Some(x), ..KeyMembers::default() };
        for (rfc, members, expected) in [
            ("RFC 7638 section 3.1", rsa, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
            ("RFC 9449 section 6.1", ec, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"),
            ("RFC 8037 appendix A.3", okp, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
        ] {
            assert_eq!(thumbprint(&members.read().unwrap()), expected, "{rfc}");
        }
    }
}
