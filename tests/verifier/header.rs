//! Headers: RFC 7515 section 4, RFC 8725 section 3, RFC 9068 section 2.1.

use aws_lc_rs::{hmac, signature};

use crate::support::*;

#[test]
fn vf1_an_algorithm_that_is_not_allowed_is_refused_before_a_key_is_looked_up() {
    let payload = encode(claims().to_string());
    let mut tokens = Vec::new();
    for alg in ["none", "None", "NONE", "nOnE", "noNE", "", "RS257", "rs256", "HS256", "RS384", "PS256", "ES256", "EdDSA", "RSA1_5", "dir"]
    {
        for kid in [r#","kid":"one""#, r#","kid":"unknown""#, ""] {
            let header = encode(format!(r#"{{"typ":"at+jwt","alg":"{alg}"{kid}}}"#));
            tokens.push(format!("{header}.{payload}."));
            tokens.push(sealed(&header, &payload));
        }
    }
    for other in [r#"{"typ":"at+jwt","kid":"one"}"#, "{}"] {
        tokens.push(token_of(other, claims().to_string()));
    }
    // HMAC with public values as its key.
    for secret in public_forms() {
        for (alg, digest) in [("HS256", hmac::HMAC_SHA256), ("HS512", hmac::HMAC_SHA512)] {
            let signed = format!("{}.{payload}", encode(format!(r#"{{"typ":"at+jwt","alg":"{alg}","kid":"one"}}"#)));
            let mac = hmac::sign(&hmac::Key::new(digest, &secret), signed.as_bytes());
            tokens.push(format!("{signed}.{}", encode(mac)));
        }
    }
    for token in &tokens {
        let text = verify(token).unwrap_err().to_string();
        let named = text.split("signed with ").nth(1).and_then(|named| named.split(';').next());
        assert!(matches!(named, None | Some("RS384" | "PS256" | "ES256" | "Ed25519")), "no text of a caller: {text}");
    }
    all_refused("algorithm_not_allowed", tokens);
    // An array, a number or null is not a header.
    all_refused(
        "malformed",
        ["[\"RS256\"]", "256", "null"].map(|alg| token_of(format!(r#"{{"typ":"at+jwt","alg":{alg},"kid":"one"}}"#), "{}")),
    );
}

#[test]
fn vf1_a_key_checks_its_one_algorithm_and_no_other() {
    let many = builder().algorithms(["RS256", "RS384", "PS256"]).build().unwrap();
    let payload = encode(claims().to_string());
    let sign = |alg: &str, padding| {
        let signed = format!("{}.{payload}", encode(format!(r#"{{"typ":"at+jwt","alg":"{alg}","kid":"one"}}"#)));
        format!("{signed}.{}", encode(sign_with(&KEY, padding, &signed)))
    };
    assert!(many.verify_cached(&sign("RS256", &signature::RSA_PKCS1_SHA256)).is_ok());
    for token in [sign("RS384", &signature::RSA_PKCS1_SHA384), sign("PS256", &signature::RSA_PSS_SHA256)] {
        assert_eq!(many.verify_cached(&token).unwrap_err().code(), "unknown_key");
    }
}

#[test]
fn vf2_the_type_of_an_access_token_is_at_jwt() {
    for typ in ["at+jwt", "application/at+jwt", "AT+JWT", "Application/At+Jwt"] {
        assert!(verify(&token_of(format!(r#"{{"typ":"{typ}","alg":"RS256","kid":"one"}}"#), claims().to_string())).is_ok(), "{typ}");
    }
    let others = [
        "JWT",
        "jwt",
        "",
        "logout+jwt",
        "dpop+jwt",
        "at+jwt ",
        "application/",
        "application/application/at+jwt",
        "text/at+jwt",
        "rt+jwt",
        "applicationé",
        "é",
    ];
    all_refused("wrong_type", others.map(|typ| token_of(format!(r#"{{"typ":"{typ}","alg":"RS256","kid":"one"}}"#), claims().to_string())));
    all_refused("wrong_type", [token_of(r#"{"alg":"RS256","kid":"one"}"#, claims().to_string())]);
    all_refused("malformed", [token_of(r#"{"typ":null,"alg":"RS256","kid":"one"}"#, claims().to_string())]);
}

#[test]
fn vf6_a_token_that_requires_an_extension_is_refused() {
    for member in [
        r#""crit":["exp"]"#,
        r#""crit":[]"#,
        r#""crit":null"#,
        r#""crit":"x""#,
        r#""b64":false"#,
        r#""b64":true"#,
        r#""zip":"DEF""#,
        r#""crit":["b64"],"b64":false"#,
    ] {
        all_refused("critical", [token_of(format!(r#"{{"typ":"at+jwt","alg":"RS256","kid":"one",{member}}}"#), claims().to_string())]);
    }
}

#[test]
fn vf7_a_key_in_the_header_of_a_token_is_ignored() {
    let payload = encode(claims().to_string());
    for member in [
        format!(r#""jwk":{}"#, rsa_jwk(&OTHER_KEY, "evil")),
        r#""jku":"http://127.0.0.1:1/jwks.json""#.to_owned(),
        r#""x5u":"http://127.0.0.1:1/x.pem""#.to_owned(),
        r#""x5c":["MIIB"]"#.to_owned(),
    ] {
        // Signed by the key in its header: the check with the known key fails.
        for (kid, code) in [("one", "bad_signature"), ("evil", "unknown_key")] {
            let signed = format!("{}.{payload}", encode(format!(r#"{{"typ":"at+jwt","alg":"RS256","kid":"{kid}",{member}}}"#)));
            let forged = format!("{signed}.{}", encode(sign_with(&OTHER_KEY, &signature::RSA_PKCS1_SHA256, &signed)));
            all_refused(code, [forged]);
        }
    }
}

#[test]
fn vf8_a_hostile_kid_finds_no_key_and_does_no_harm() {
    let kids = ["", "three", "../../dev/null", "x' UNION SELECT '1';--", "| sleep 10", "ONE", "one ", "\\u0000", &"k".repeat(2_900)];
    all_refused(
        "unknown_key",
        kids.map(|kid| token_of(format!(r#"{{"typ":"at+jwt","alg":"RS256","kid":"{kid}"}}"#), claims().to_string())),
    );
    all_refused("malformed", [token_of(r#"{"typ":"at+jwt","alg":"RS256"}"#, claims().to_string())]);
    all_refused(
        "malformed",
        ["null", "1", "[\"one\"]"].map(|kid| token_of(format!(r#"{{"typ":"at+jwt","alg":"RS256","kid":{kid}}}"#), "{}")),
    );
    all_refused(
        "too_large",
        [10_000, 1_000_000].map(|length| token_of(format!(r#"{{"typ":"at+jwt","alg":"RS256","kid":"{}"}}"#, "k".repeat(length)), "{}")),
    );
}

#[test]
fn vf18_the_right_kid_with_the_wrong_key_is_a_bad_signature() {
    let payload = encode(claims().to_string());
    let signed = format!("{}.{payload}", encode(HEADER));
    let by_other = format!("{signed}.{}", encode(sign_with(&OTHER_KEY, &signature::RSA_PKCS1_SHA256, &signed)));
    let by_kid_of_other = sealed(&encode(HEADER.replace("one", "two")), &payload);
    let good = sealed(&encode(HEADER), &payload);
    let (_, of_good) = good.rsplit_once('.').unwrap();
    let other_payload =
        format!("{}.{}.{of_good}", encode(HEADER), encode(with(claims(), &serde_json::json!({ "sub": "evil" })).to_string()));
    let cut = |bytes: usize| {
        let signature = sign_with(&KEY, &signature::RSA_PKCS1_SHA256, &signed);
        format!("{signed}.{}", encode(&signature[..signature.len() - bytes]))
    };
    all_refused(
        "bad_signature",
        [by_other, by_kid_of_other, other_payload, cut(1), cut(4), cut(255), format!("{signed}.{}", encode([0; 256]))],
    );
}
