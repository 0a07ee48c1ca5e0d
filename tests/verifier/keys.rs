//! JWKS documents: RFC 7517 section 5. One bad key is skipped, and the others are used.

use sealwright::verifier::BuildError;
use serde_json::{Value, json};

use crate::support::*;

/// Keys that some issuers publish and this verifier cannot use.
fn useless() -> Vec<Value> {
    let rsa = || rsa_jwk(&OTHER_KEY, "useless");
    let short = encode(&KEY_BYTES[..128]);
    vec![
        json!({ "kty": "oct", "kid": "useless", "k": "c2VjcmV0" }),
        json!({ "kty": "OKP", "crv": "Ed448", "kid": "useless", "x": "AAAA" }),
        json!({ "kty": "AKP", "alg": "ML-DSA-65", "kid": "useless", "pub": "AAAA" }),
        json!({ "kty": "EC", "crv": "P-521", "kid": "useless", "x": "AAAA", "y": "AAAA" }),
        json!({ "kty": "EC", "crv": "P-256", "kid": "useless", "x": encode([1; 32]), "y": encode([1; 32]) }),
        with(rsa(), &json!({ "use": "enc" })),
        with(rsa(), &json!({ "key_ops": ["encrypt"] })),
        with(rsa(), &json!({ "alg": "RSA-OAEP" })),
        with(rsa(), &json!({ "alg": "HS256" })),
        with(rsa(), &json!({ "alg": "ES256" })),
        with(rsa(), &json!({ "alg": 7 })),
        with(rsa(), &json!({ "kid": null })),
        with(rsa(), &json!({ "kid": 7 })),
        with(rsa(), &json!({ "n": short })),
        with(rsa(), &json!({ "n": null })),
        with(rsa(), &json!({ "n": "!" })),
        with(rsa(), &json!({ "e": encode([1]) })),
        with(rsa(), &json!({ "e": encode([2]) })),
        with(rsa(), &json!({ "e": "" })),
        with(rsa(), &json!({ "e": encode([1; 9]) })),
        with(rsa(), &json!({ "n": encode([0xfe; 256]) })),
        with(rsa(), &json!({ "n": encode([0xff; 1025]) })),
        with(ed_jwk(), &json!({ "x": encode([1; 31]) })),
        with(ec_jwk(), &json!({ "x": encode([1; 33]) })),
        json!("no key"),
        json!(null),
    ]
}

const KEY_BYTES: [u8; 256] = [0xff; 256];

#[test]
fn vf14_an_unusable_key_is_skipped_and_the_others_are_used() {
    let good = token_with(&json!({}));
    for key in useless() {
        let verifier = builder().keys(set(&[key.clone(), rsa_jwk(&KEY, "one")])).build().unwrap();
        assert_eq!(verifier.status().issuers[0].skipped.len(), 1, "{key}");
        assert!(verifier.verify_cached(&good).is_ok(), "{key}");
        assert!(matches!(builder().keys(set(&[key])).build(), Err(BuildError::NoUsableKey(_))));
    }
    let mut all = useless();
    all.push(rsa_jwk(&KEY, "one"));
    assert!(builder().keys(set(&all)).build().unwrap().verify_cached(&good).is_ok());
}

#[test]
fn vf14_an_invalid_or_large_key_set_is_refused() {
    let many: Vec<Value> = (0..65).map(|number| rsa_jwk(&KEY, &number.to_string())).collect();
    let large = format!(r#"{{"keys":[],"x":"{}"}}"#, "y".repeat(300_000));
    let pem = "-----BEGIN PUBLIC KEY-----";
    for document in ["", "<html>", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":null}"#, pem, &set(&many), &large] {
        assert!(matches!(builder().keys(document).build(), Err(BuildError::NotAKeySet(_))), "{}", &document[..document.len().min(60)]);
    }
    assert!(matches!(builder().keys(r#"{"keys":[]}"#).build(), Err(BuildError::NoUsableKey(_))));
}

#[test]
fn unused_members_are_ignored_and_a_missing_alg_means_the_usual_algorithm() {
    let good = token_with(&json!({}));
    for changes in [
        json!({ "x5t": "wrong", "x5c": ["junk"], "foo": {} }),
        json!({ "alg": null }),
        json!({ "use": null }),
        json!({ "key_ops": ["verify"] }),
    ] {
        let verifier = builder().keys(set(&[with(rsa_jwk(&KEY, "one"), &changes)])).build().unwrap();
        assert!(verifier.verify_cached(&good).is_ok(), "{changes}");
    }
}

#[test]
fn vf14_two_keys_with_the_same_kid_are_skipped_unless_their_algorithms_differ() {
    let good = token_with(&json!({}));
    let keys = set(&[rsa_jwk(&KEY, "one"), rsa_jwk(&OTHER_KEY, "one"), rsa_jwk(&OTHER_KEY, "two")]);
    let verifier = builder().keys(keys).build().unwrap();
    assert_eq!(verifier.status().issuers[0].skipped.len(), 2, "both are named: {:?}", verifier.status().issuers[0].skipped);
    assert_eq!(verifier.verify_cached(&good).unwrap_err().code(), "unknown_key");

    let same = builder().keys(set(&[rsa_jwk(&KEY, "one"), rsa_jwk(&KEY, "one")])).build().unwrap();
    assert!(same.verify_cached(&good).is_ok() && same.status().issuers[0].skipped.is_empty(), "a key that occurs twice is one key");
    let by_type = set(&[with(ec_jwk(), &json!({ "kid": "one" })), rsa_jwk(&KEY, "one")]);
    assert!(builder().keys(by_type.clone()).build().unwrap().verify_cached(&good).is_ok());
    assert!(builder().keys(by_type).algorithms(["RS256", "ES256"]).build().unwrap().verify_cached(&good).is_ok());
}

/// The members that only a private or a symmetric key has.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

#[test]
fn hd13_a_key_that_is_published_with_private_members_is_refused_and_the_others_stay() {
    let by_one = token_with(&json!({}));
    let by_two = sign_two(&json!({}));
    for member in PRIVATE {
        for value in [json!("AQAB"), json!(""), json!([{ "d": "AQAB" }]), json!(7)] {
            let leaked = with(rsa_jwk(&KEY, "one"), &json!({ member: value }));
            let verifier = builder().keys(set(&[leaked.clone(), rsa_jwk(&OTHER_KEY, "two")])).build().unwrap();
            assert_eq!(verifier.verify_cached(&by_one).unwrap_err().code(), "unknown_key", "{leaked}");
            assert!(verifier.verify_cached(&by_two).is_ok(), "{leaked}");
            let skipped = verifier.status().issuers.remove(0).skipped;
            assert!(skipped.len() == 1 && skipped[0].starts_with(&format!("key 0, kid \"one\": it has the private member \"{member}\"")));
            let alone = builder().keys(set(&[leaked])).build().unwrap_err();
            assert!(matches!(&alone, BuildError::NoUsableKey(why) if why.contains("private member")), "{alone}");
        }
    }
    // Some serializers write null for an absent member.
    let without = with(rsa_jwk(&KEY, "one"), &json!({ "x": "y" })).to_string().replace("\"x\":\"y\"", "\"d\":null");
    assert!(builder().keys(format!("{{\"keys\":[{without}]}}")).build().unwrap().verify_cached(&by_one).is_ok());
    for jwk in [ec_jwk(), ed_jwk()] {
        let verifier = builder().algorithms(["RS256", "ES256", "EdDSA"]);
        let leaked = verifier.keys(set(&[with(jwk, &json!({ "d": "AQAB" })), rsa_jwk(&KEY, "one")])).build().unwrap();
        assert_eq!(leaked.status().issuers[0].kids, ["one"]);
    }
}

#[test]
fn hd13_a_key_whose_private_half_is_in_another_entry_is_refused() {
    let by_one = token_with(&json!({}));
    for elsewhere in [
        json!({ "d": "AQAB", "kid": "copy" }),
        json!({ "d": "AQAB", "kid": null }),
        json!({ "d": "AQAB", "use": "enc" }),
        json!({ "d": "AQAB", "alg": "PS256", "kid": 7 }),
    ] {
        for leaked_first in [true, false] {
            let mut keys = vec![rsa_jwk(&KEY, "one"), with(rsa_jwk(&KEY, "one"), &elsewhere), rsa_jwk(&OTHER_KEY, "two")];
            if leaked_first {
                keys.swap(0, 1);
            }
            let verifier = builder().keys(set(&keys)).build().unwrap();
            assert_eq!(verifier.verify_cached(&by_one).unwrap_err().code(), "unknown_key", "{elsewhere}");
            assert_eq!(verifier.status().issuers[0].kids, ["two"]);
            assert!(verifier.status().issuers[0].skipped[1].contains("another entry"));
        }
    }
}

#[test]
fn hd13_a_private_half_in_an_entry_that_is_refused_for_another_reason_counts() {
    let by_one = token_with(&json!({}));
    let one = rsa_jwk(&KEY, "one");
    let n = one["n"].as_str().unwrap();
    let padded = format!("{n}==");
    let copy = |changes: &Value| with(with(one.clone(), &json!({ "d": "AQAB" })), changes).to_string();
    // With duplicate members, for which the entry is refused.
    let twice = |more: &str, jwk: &Value| format!("{},{more}}}", jwk.to_string().strip_suffix('}').unwrap());
    let leaked = with(rsa_jwk(&KEY, "copy"), &json!({ "d": "AQAB" }));
    let other = with(rsa_jwk(&OTHER_KEY, "copy"), &json!({ "d": "AQAB" }));
    let entries = [
        twice(r#""kid":"copy""#, &leaked),
        twice(r#""foo":1,"foo":2"#, &leaked),
        twice(r#""foo":{"a":1,"a":1}"#, &leaked),
        twice(r#""d":"AQAB""#, &leaked),
        twice(r#""d":null"#, &leaked),
        twice(r#""\ud800":1"#, &leaked),
        twice(&format!(r#""n":"{n}""#), &other),
        twice(r#""kid":"one""#, &other),
        twice(r#""\u0064":"AQAB""#, &rsa_jwk(&KEY, "copy")),
        twice(r#""$serde_json::private::RawValue":"{}""#, &leaked),
        twice(&format!(r#""foo":{}{}"#, "[".repeat(300), "]".repeat(300)), &leaked),
        // Its public members cannot be read, so it is matched by its modulus or its kid.
        copy(&json!({ "kid": "copy", "e": "AA" })),
        copy(&json!({ "kid": "copy", "e": null })),
        copy(&json!({ "kid": "copy", "kty": "rsa" })),
        copy(&json!({ "kid": "copy", "n": padded })),
        copy(&json!({ "kid": "copy", "n": format!("AAAA{n}").replace('-', "+").replace('_', "/"), "e": null })),
        copy(&json!({ "n": null })),
        copy(&json!({ "n": "AQAB" })),
        copy(&json!({ "n": 7 })),
        copy(&json!({ "kty": null, "n": null, "e": null })),
        // The private key for one exponent reveals the factors of the modulus.
        copy(&json!({ "kid": "copy", "e": "Aw" })),
    ];
    for entry in &entries {
        for entry_first in [true, false] {
            let two = [entry.clone(), one.to_string()];
            let [first, second] = if entry_first { &two } else { &[two[1].clone(), two[0].clone()] };
            let keys = format!(r#"{{"keys":[{first},{second},{}]}}"#, ec_jwk());
            let verifier = builder().algorithms(["RS256", "ES256"]).keys(keys).build().unwrap();
            assert_eq!(verifier.verify_cached(&by_one).unwrap_err().code(), "unknown_key", "{entry}");
            let status = verifier.status().issuers.remove(0);
            assert_eq!(status.kids, [ec_jwk()["kid"].as_str().unwrap()], "the others stay: {entry}");
            assert!(status.skipped[0].contains("the private member \"d\"") && status.skipped[1].contains("another entry"), "{status:?}");
        }
    }
    // A symmetric key has no public half, so no other key can be its copy.
    let symmetric = json!({ "kty": "oct", "kid": "one", "k": "AQAB" });
    assert!(builder().keys(set(&[symmetric, one])).build().unwrap().verify_cached(&by_one).is_ok());
}

#[test]
fn hd13_a_published_private_half_of_an_elliptic_curve_key_is_matched_by_its_x_coordinate() {
    for (jwk, changes) in [
        (ec_jwk(), json!({ "d": "AQAB", "kid": "copy", "y": "AQAB" })),
        (ec_jwk(), json!({ "d": "AQAB", "kid": "copy", "crv": "p256" })),
        (ed_jwk(), json!({ "d": "AQAB", "kid": "copy", "kty": "EC" })),
    ] {
        let verifier = builder().algorithms(["RS256", "ES256", "EdDSA"]);
        let keys = set(&[jwk.clone(), with(jwk, &changes), rsa_jwk(&KEY, "one")]);
        assert_eq!(verifier.keys(keys).build().unwrap().status().issuers[0].kids, ["one"], "{changes}");
    }
}

/// A valid token signed by the other key.
fn sign_two(changes: &Value) -> String {
    let (header, payload) = (encode(HEADER.replace("one", "two")), encode(with(claims(), changes).to_string()));
    let signature = sign_with(&OTHER_KEY, &aws_lc_rs::signature::RSA_PKCS1_SHA256, &format!("{header}.{payload}"));
    format!("{header}.{payload}.{}", encode(signature))
}

#[test]
fn hd13_a_document_with_a_duplicate_member_is_refused() {
    let (one, two) = (rsa_jwk(&KEY, "one"), rsa_jwk(&OTHER_KEY, "two"));
    for document in [
        format!(r#"{{"keys":[{one}],"keys":[{two}]}}"#),
        format!(r#"{{"keys":[{one}],"keys":[{one}]}}"#),
        format!(r#"{{"keys":[{one}],"\u006beys":[]}}"#),
        format!(r#"{{"keys":[{one}],"x":1,"x":1}}"#),
        format!(r#"{{"x":{{}},"keys":[{one}],"x":null}}"#),
        format!(r#"{{"keys":[{one}],"x":[{{"y":1,"y":2}}]}}"#),
    ] {
        let refused = builder().keys(document.clone()).build().unwrap_err();
        assert_eq!(refused, BuildError::NotAKeySet("it has a duplicate member"), "{document}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &document).unwrap();
        assert_eq!(builder().keys_file(file.path()).build().unwrap_err(), refused);
    }
}

/// What a lenient parser reads as the kid: the last one.
fn kid_of(jwk: &str) -> String {
    serde_json::from_str::<Value>(jwk).unwrap()["kid"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn hd13_a_key_with_a_duplicate_member_is_skipped_and_the_others_are_used() {
    let (by_one, by_two) = (token_with(&json!({})), sign_two(&json!({})));
    let (one, two) = (rsa_jwk(&KEY, "one").to_string(), rsa_jwk(&OTHER_KEY, "two"));
    for more in [
        r#""kid":"one""#,
        r#""kid":"two""#,
        r#""\u006bid":"one""#,
        r#""use":"sig""#,
        r#""e":"AQAB""#,
        r#""foo":1,"foo":2"#,
        r#""foo":{"a":1,"a":1}"#,
        r#""key_ops":["verify",{"a":1,"a":1}]"#,
        r#""x":{"a":1,"a":1}"#,
        r#""$serde_json::private::RawValue":"{}""#,
    ] {
        let doubled = format!("{},{more}}}", one.strip_suffix('}').unwrap());
        let verifier = builder().keys(format!(r#"{{"keys":[{doubled},{two}]}}"#)).build().unwrap();
        assert_eq!(verifier.verify_cached(&by_one).unwrap_err().code(), "unknown_key", "{doubled}");
        assert!(verifier.verify_cached(&by_two).is_ok(), "{doubled}");
        let skipped = verifier.status().issuers.remove(0).skipped;
        let reasons = ["it has a duplicate member", "it cannot be read as a JSON object with unique members"];
        assert!(skipped.len() == 1 && reasons.iter().any(|reason| skipped[0] == format!("key 0, kid \"{}\": {reason}", kid_of(&doubled))));
    }
}

#[test]
fn a_set_without_keys_for_the_algorithms_of_the_api_is_refused() {
    assert!(matches!(builder().keys(set(&[ed_jwk()])).build(), Err(BuildError::NoUsableKey(_))));
    assert!(matches!(builder().algorithms(["PS256"]).build(), Err(BuildError::NoUsableKey(_))));
    let sixty_four: Vec<Value> = (0..64).map(|number| rsa_jwk(&KEY, &number.to_string())).collect();
    assert!(builder().keys(set(&sixty_four)).build().is_ok());
}
