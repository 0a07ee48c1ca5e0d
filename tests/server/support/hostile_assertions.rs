//! Assertions that no server should accept.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use openssl::{hash::MessageDigest, pkey::PKey, sign::Signer};
use serde_json::{Value, json};

use super::AppKey;

/// The claims with other values of some.
pub(crate) fn merged(mut claims: Value, other: Value) -> Value {
    claims.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
    claims
}

pub(crate) fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().unwrap().remove(name);
    claims
}

/// Assertions that are refused, with the reason in the log. Each `claims()` has another `jti`.
pub(crate) fn hostile_assertions(
    key: &AppKey,
    other: &AppKey,
    issuer: &str,
    now: i64,
    mut claims: impl FnMut() -> Value,
) -> Vec<(&'static str, String)> {
    const AUD: &str = "its aud is not the issuer alone, as a text";
    const KEY: &str = "none of the client's keys has its kid, its algorithm and the length of its signature";
    const TYPES: &str = "its claims are not an object with unique members of the right types";
    const FORM: &str = "it does not have three parts";
    const ALGORITHM: &str = "its algorithm is none of RS256, PS256, ES256 and Ed25519";
    let with = |name: &str, value: Value| json!({ name: value });
    let token = format!("{issuer}/oauth/token");
    let mut list: Vec<(&str, String)> = Vec::new();
    let wrong = [
        (AUD, with("aud", json!(token))),
        (AUD, with("aud", json!([issuer]))),
        (AUD, with("aud", json!([issuer, token]))),
        (AUD, with("aud", json!([issuer, issuer]))),
        (AUD, with("aud", json!(format!("{issuer}/")))),
        (AUD, with("aud", json!(issuer.to_uppercase()))),
        (AUD, with("aud", json!("billing"))),
        (AUD, with("aud", json!(7))),
        (AUD, with("aud", json!({ "aud": issuer }))),
        (AUD, with("aud", Value::Null)),
        ("its iss is not the client", with("iss", json!("other"))),
        ("its iss is not the client", with("iss", json!(issuer))),
        ("its iss is not the client", with("iss", json!("billing "))),
        (TYPES, with("iss", json!(["billing"]))),
        (TYPES, with("exp", json!("soon"))),
        (TYPES, with("exp", json!(-1))),
        (TYPES, with("exp", json!(1e300))),
        (TYPES, with("jti", json!(7))),
        ("it has expired", with("exp", json!(now - 120))),
        ("its exp is more than an hour ahead", with("exp", json!(now + 86400))),
        ("its exp is more than an hour ahead", with("exp", json!(253_402_300_799_i64))),
        ("its nbf or its iat is in the future", with("nbf", json!(now + 300))),
        ("its nbf or its iat is in the future", with("iat", json!(now + 300))),
        ("it has no jti", with("jti", json!(""))),
        ("its jti is too long", with("jti", json!("j".repeat(1025)))),
    ];
    for (reason, changed) in wrong {
        list.push((reason, key.assertion(&merged(claims(), changed))));
    }
    for (reason, name) in [(AUD, "aud"), ("its iss is not the client", "iss"), ("it has no exp", "exp"), ("it has no jti", "jti")] {
        list.push((reason, key.assertion(&without(claims(), name))));
    }
    // Signed by a key that is not the client's, under the right and under its own id, and with the key in the header.
    let (kid, alg) = (key.kid(), key.algorithm);
    list.push(("its signature is wrong", other.signed(&json!({ "alg": alg, "kid": kid }), &claims())));
    list.push(("its signature is wrong", other.anonymous_assertion(&claims())));
    list.push((KEY, other.assertion(&claims())));
    let jwk: Value = serde_json::from_str(&other.public().to_json()).unwrap();
    list.push(("its signature is wrong", other.signed(&json!({ "alg": alg, "jwk": jwk }), &claims())));
    list.push(("its signature is wrong", other.signed(&json!({ "alg": alg, "jku": "https://evil.example/jwks.json" }), &claims())));
    list.push((KEY, key.signed(&json!({ "alg": alg, "kid": "unknown" }), &claims())));
    list.push((KEY, key.signed(&json!({ "alg": "RS256", "kid": kid }), &claims())));
    // Other algorithms, with the signature that fits them.
    let encoded = |header: Value, claims: Value| {
        let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}", part(header), part(claims))
    };
    let hmac = |secret: &str, claims: Value| {
        let message = encoded(json!({ "alg": "HS256", "kid": kid }), claims);
        let secret = PKey::hmac(secret.as_bytes()).unwrap();
        let mac = Signer::new(MessageDigest::sha256(), &secret).unwrap().sign_oneshot_to_vec(message.as_bytes()).unwrap();
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac))
    };
    list.push((ALGORITHM, format!("{}.", encoded(json!({ "alg": "none" }), claims()))));
    list.push((ALGORITHM, format!("{}.e30", encoded(json!({ "alg": "None", "kid": kid }), claims()))));
    list.push((ALGORITHM, hmac(&key.public_pem(), claims())));
    list.push((ALGORITHM, hmac(&key.public().to_json(), claims())));
    for unlisted in ["RS512", "ES384", "es256"] {
        list.push((ALGORITHM, key.signed(&json!({ "alg": unlisted, "kid": kid }), &claims())));
    }
    // Other types, and extensions.
    for typ in ["at+jwt", "dpop+jwt", "logout+jwt", ""] {
        list.push((
            "its typ is neither JWT nor client-authentication+jwt",
            key.signed(&json!({ "alg": alg, "kid": kid, "typ": typ }), &claims()),
        ));
    }
    list.push(("its header requires an extension", key.signed(&json!({ "alg": alg, "kid": kid, "crit": ["exp"] }), &claims())));
    list.push(("its header requires an extension", key.signed(&json!({ "alg": alg, "kid": kid, "b64": true }), &claims())));
    // Forms.
    let good = key.assertion(&claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    list.push((KEY, format!("{signed}.")));
    list.push((KEY, format!("{signed}.AAAA")));
    list.push(("its signature is wrong", format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode([0; 64]))));
    list.push(("a part is not base64url", format!("{signed}.{}%21", &signature[..85])));
    list.push((FORM, "e30".to_owned()));
    list.push(("it has more than three parts", format!("{good}.e30")));
    let twice = claims().to_string().replacen('{', r#"{"sub":"other","#, 1);
    list.push((TYPES, key.signed_text(&json!({ "alg": alg, "kid": kid }).to_string(), &twice)));
    list.push((TYPES, key.signed_text(&json!({ "alg": alg, "kid": kid }).to_string(), "[]")));
    list.push(("it is too long", key.assertion(&merged(claims(), json!({ "more": "x".repeat(9000) })))));
    list
}
