//! The API page checks the signature of a first token with the browser's own cryptography, for each algorithm.

use std::{fs, time::Duration};

use serde_json::Value;

use crate::{
    docs::read,
    page::Seen,
    world::{ORDERS, World},
};

/// What the page's own check says of the token that it shows, with this expression for the header.
async fn verdict(seen: &Seen, header: &str, parts: &str) -> Value {
    let check = format!(
        "(async () => {{ const shown = JSON.parse(document.querySelector('#token-header').textContent);
        const parts = document.querySelector('#token-text').textContent.split('.');
        const {{ checkSignature }} = await import('/docs/first-token.js');
        return checkSignature({header}, {parts}) }})()"
    );
    seen.evaluate(&check).await
}

#[tokio::test]
async fn ky4_the_page_verifies_the_signature_of_each_algorithm() {
    let world = World::begin();
    let seen = Seen::open(&world.issuer, &world.folder.path().join("algorithms")).await;
    seen.wide(1200).await;
    seen.intercept().await;
    read(&seen).await;
    seen.type_into("#client-id", "shop").await;
    seen.type_into("#client-secret", &fs::read_to_string(world.secret()).unwrap()).await;
    for algorithm in ["PS256", "ES256", "Ed25519", "RS256"] {
        world.run(&["resource", "update", ORDERS, "--alg", algorithm]);
        // The first key of an algorithm of a new issuer signs after seconds.
        for _ in 0..60 {
            seen.click("#first-form button").await;
            seen.becomes(
                "!document.querySelector('#token').hidden && document.querySelector('#token-signature').textContent.includes('enuine')",
            )
            .await;
            let header: Value = serde_json::from_str(&seen.text_of("#token-header").await).unwrap();
            if header["alg"] == algorithm {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let header: Value = serde_json::from_str(&seen.text_of("#token-header").await).unwrap();
        assert_eq!(header["alg"], algorithm);
        assert!(seen.text_of("#token-signature").await.starts_with("Genuine: made by the published key"), "{algorithm}");
        let tampered = "[parts[0], btoa(JSON.stringify({ sub: 'admin' })).replace(/=+$/, ''), parts[2]]";
        assert_eq!(verdict(&seen, "shown", tampered).await[0], false, "{algorithm}");
        if algorithm == "Ed25519" {
            assert_eq!(verdict(&seen, "{ ...shown, alg: 'EdDSA' }", "parts").await[0], true, "the name before RFC 9864");
        }
    }
    // Of what it cannot check, it says so, and not that the token is invalid.
    for (algorithm, header) in [("HS256", "{ ...shown, alg: 'HS256' }"), ("constructor", "{ ...shown, alg: 'constructor' }")] {
        let said = verdict(&seen, header, "parts").await;
        assert_eq!(said[0], Value::Null);
        assert_eq!(said[1], format!("Not checked: this page does not know the algorithm {algorithm}."));
    }
    seen.evaluate("void (crypto.subtle.importKey = async () => { throw new DOMException('', 'NotSupportedError') })").await;
    let said = verdict(&seen, "shown", "parts").await;
    assert_eq!(said[0], Value::Null);
    assert!(said[1].as_str().unwrap().contains("this browser does not know the algorithm RS256"), "{said}");
    seen.no_faults_but(&[]);
    seen.close().await;
}
