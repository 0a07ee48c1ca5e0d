//! Parts, encoding and claims: RFC 7515 section 7.1, RFC 7519 section 4, RFC 9068 section 4.

use sealwright::verifier::BuildError;
use serde_json::json;

use crate::support::*;

#[test]
fn vf3_issuer_and_audience_are_compared_exactly() {
    for issuer in [
        "https://auth.example/",
        "https://AUTH.example",
        "HTTPS://auth.example",
        "https://auth.example:443",
        "https://auth.exampl",
        "",
        " https://auth.example",
    ] {
        all_refused("wrong_issuer", [token_with(&json!({ "iss": issuer }))]);
    }
    all_refused("missing_claim", [token_with(&json!({ "iss": null })), token_with(&json!({ "aud": null }))]);
    all_refused("malformed", [token_with(&json!({ "iss": [ISSUER] })), token_with(&json!({ "iss": 1 }))]);
    for audience in
        [json!([]), json!("https://orders.example/"), json!("https://orders"), json!("https://other.example"), json!(["a", "b"]), json!("")]
    {
        all_refused("wrong_audience", [token_with(&json!({ "aud": audience }))]);
    }
    all_refused(
        "malformed",
        [json!(1), json!({}), json!([1]), json!([AUDIENCE, 1]), json!(true)].map(|aud| token_with(&json!({ "aud": aud }))),
    );
    assert!(verify(&token_with(&json!({ "aud": ["https://other.example", AUDIENCE] }))).is_ok());
}

#[test]
fn vf4_times_are_whole_numbers_and_required() {
    for claim in ["exp", "iat"] {
        all_refused("missing_claim", [token_with(&json!({ claim: null }))]);
    }
    for claim in ["exp", "nbf", "iat"] {
        let wrong =
            ["\"1795500600\"", "1795500600.0", "1795500600.5", "-1", "-0", "1e400", "1e9", "9223372036854775808", "null", "[]", "true"];
        for value in wrong {
            let mut text = with(claims(), &json!({ claim: null })).to_string();
            text.insert_str(text.len() - 1, &format!(r#","{claim}":{value}"#));
            all_refused("malformed", [token_of(HEADER, text)]);
        }
    }
}

#[test]
fn vf5_a_token_expires_at_exp_plus_a_small_leeway() {
    let at = |exp: i64| token_with(&json!({ "exp": exp }));
    assert!(verify(&at(NOW + 1)).is_ok() && verify(&at(NOW)).is_ok() && verify(&at(NOW - 29)).is_ok());
    all_refused("expired", [at(NOW - 30), at(NOW - 31), at(0)]);
    let strict = builder().leeway(seconds(0)).build().unwrap();
    assert!(strict.verify_cached(&at(NOW + 1)).is_ok());
    assert_eq!(strict.verify_cached(&at(NOW)).unwrap_err().code(), "expired");
    for claim in ["nbf", "iat"] {
        assert!(verify(&token_with(&json!({ claim: NOW + 30 }))).is_ok());
        all_refused("not_yet_valid", [token_with(&json!({ claim: NOW + 31 })), token_with(&json!({ claim: i64::MAX }))]);
    }
    assert!(verify(&at(i64::MAX)).is_ok(), "no sum runs over");
}

#[test]
fn vf9_a_duplicate_member_is_refused() {
    for member in [
        r#""aud":"https://orders.example""#,
        r#""\u0061ud":"https://orders.example""#,
        r#""sub":"evil""#,
        r#""e\u0078p":1"#,
        r#""custom":1,"custom":2"#,
    ] {
        let mut text = claims().to_string();
        text.insert_str(text.len() - 1, &format!(",{member}"));
        all_refused("malformed", [token_of(HEADER, text)]);
    }
    for member in [r#""alg":"none""#, r#""\u0061lg":"RS256""#, r#""kid":"two""#, r#""x":1,"x":1"#] {
        all_refused("malformed", [token_of(format!("{},{member}}}", &HEADER[..HEADER.len() - 1]), claims().to_string())]);
    }
    // Nor in nested objects, which an API's own type may read; nor by a name that a JSON library uses internally.
    for value in [r#"{"id":7,"id":8}"#, r#"[{"a":1,"\u0061":2}]"#, r#"{"$serde_json::private::RawValue":"{\"id\":8}"}"#] {
        let mut text = claims().to_string();
        text.insert_str(text.len() - 1, &format!(r#","tenant":{value}"#));
        all_refused("malformed", [token_of(HEADER, text)]);
    }
    for name in ["$serde_json::private::RawValue", "$serde_json::private::Number"] {
        all_refused("malformed", [token_with(&json!({ name: "{\"sub\":\"evil\"}" }))]);
    }
}

#[test]
fn vf10_a_token_has_three_parts_of_strict_base64url() {
    let good = token_of(HEADER, claims().to_string());
    let parts: Vec<&str> = good.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    let mut tokens: Vec<String> = ["", ".", "..", "...", "a", "a.b", ". .", "\u{feff}"].map(str::to_owned).into();
    tokens.extend([
        header.to_owned(),
        format!("{header}.{payload}"),
        format!("{good}.{signature}"),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.a.b"),
        format!(".{payload}.{signature}"),
        format!("{{\"payload\":\"{payload}\",\"protected\":\"{header}\",\"signature\":\"{signature}\"}}"),
        format!("{good} "),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{good}="),
        format!("{header}.{payload}."),
        format!("{header}==.{payload}.{signature}"),
        format!("{header}.{payload}.{}", signature.replacen(['-', '_'], "+", 1) + "+"),
        format!("{header}.{payload}.{}?", &signature[..signature.len() - 1]),
        // Trailing bits outside any byte: the last character of 256 bytes has four.
        format!("{header}.{payload}.{}", &signature[..signature.len() - 1].to_owned()) + "B",
    ]);
    all_refused("malformed", tokens);
    // Padding and stray characters that are covered by the signature.
    all_refused(
        "malformed",
        [sealed(&format!("{header}="), payload), sealed(header, &format!("{payload}=")), sealed(header, &format!("{payload}\n"))],
    );
    assert!(verify(&good).is_ok());
}

#[test]
fn vf11_a_token_that_is_too_large_or_too_deep_is_refused_early() {
    all_refused("too_large", ["x".repeat(1_000_000), ".".repeat(1_000_000), token_with(&json!({ "x": "y".repeat(20_000) }))]);
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let mut text = claims().to_string();
    text.insert_str(text.len() - 1, &format!(r#","exp_":{}"#, deep(4_000)));
    all_refused("malformed", [token_of(HEADER, text)]);
    // Also in a member that the verifier does not use: the API behind it might parse it.
    for value in ["1e400", "\"\\ud800\"", "[1,]", "01"] {
        let mut text = claims().to_string();
        text.insert_str(text.len() - 1, &format!(r#","mine":{value}"#));
        all_refused("malformed", [token_of(HEADER, text)]);
    }
    let mut bytes = claims().to_string().into_bytes();
    bytes.splice(bytes.len() - 1.., b",\"mine\":\"\xff\"}".iter().copied());
    all_refused("malformed", [token_of(HEADER, bytes)]);
    let many: String = (0..4_000).map(|number| format!(",\"{number:x}\":0")).collect();
    let large = builder().max_token_len(1 << 20).build().unwrap();
    assert!(large.verify_cached(&token_of(HEADER, format!("{}{many}}}", claims().to_string().trim_end_matches('}')))).is_ok());
    all_refused("malformed", [token_of(HEADER, deep(4_000)), token_of(HEADER, format!(r#"{{"aud":{}}}"#, deep(4_000)))]);
    for not_an_object in ["", "null", "[]", "1", "\"x\"", "{", "{}{}", "{} x", "\u{feff}{}", "{\"sub\":\"\\ud800\",\"typ\":\"\\ud800\"}"] {
        all_refused("malformed", [token_of(HEADER, not_an_object)]);
        all_refused("malformed", [token_of(not_an_object, claims().to_string())]);
    }
    all_refused("malformed", [token_of(HEADER, b"{\"sub\":\"\xff\"}"), token_of(b"\xff\xfe{}", claims().to_string())]);
}

#[test]
fn vf17_scopes_match_as_whole_words() {
    let scoped = |scope: &str| verify(&token_with(&json!({ "scope": scope }))).unwrap();
    assert!(scoped("orders:read orders:write").has_scope("orders:write"));
    for scope in ["readwrite", "orders:readall", "ORDERS:READ", "orders:read\torders:write", "", "xorders:read"] {
        assert!(!scoped(scope).has_scope("orders:read"), "{scope}");
        assert_eq!(scoped(scope).require_scope("orders:read").unwrap_err().code(), "insufficient_scope");
    }
    let needs = builder().require_scope("orders:read").build().unwrap();
    assert!(needs.verify_cached(&token_with(&json!({}))).is_ok());
    for invalid in ["", " ", "a b", "a\tb"] {
        assert!(matches!(builder().require_scope(invalid).build(), Err(BuildError::Scope(_))), "{invalid:?}");
        assert!(!verify(&token_with(&json!({ "scope": "a  b" }))).unwrap().has_scope(invalid));
    }
    for changes in [json!({ "scope": "orders:write" }), json!({ "scope": null }), json!({ "scope": "orders:reader" })] {
        assert_eq!(needs.verify_cached(&token_with(&changes)).unwrap_err().code(), "insufficient_scope");
    }
    all_refused("malformed", [token_with(&json!({ "scope": ["orders:read"] }))]);
}

#[test]
fn required_claims_must_be_present_and_a_bound_token_is_refused() {
    for claim in ["sub", "client_id", "jti"] {
        all_refused("missing_claim", [token_with(&json!({ claim: null }))]);
        all_refused("bad_claim", [token_with(&json!({ claim: "" }))]);
        all_refused("malformed", [token_with(&json!({ claim: 1 })), token_with(&json!({ claim: ["billing"] }))]);
    }
    for cnf in [json!({ "jkt": "x" }), json!({}), json!("x")] {
        all_refused("binding_required", [token_with(&json!({ "cnf": cnf }))]);
    }
}
