//! `sealwright key export`: the public keys for verifiers that cannot fetch them.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use openssl::pkey::PKey;
use sealwright::{protocol::Algorithm, server::commands::ResourceChange};

use crate::support::{Backend, Finished, ORDERS, TestApp, on_both_databases, on_sqlite};

on_both_databases![an_export_is_the_document_that_the_server_serves];

on_sqlite![
    an_export_in_pem_has_a_block_for_each_key_and_explains_it,
    an_export_says_until_when_it_suffices,
    a_key_that_verifiers_must_not_trust_is_not_exported,
    an_export_to_a_file_replaces_nothing,
];

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A server that has keys of three types, of which one has a successor.
async fn with_keys(backend: Backend) -> TestApp {
    let app = TestApp::start(backend).await.with_orders();
    for (algorithm, audience) in [("ES256", "https://stock.example"), ("Ed25519", "https://bills.example")] {
        app.run(&["resource", "create", audience, "--scope", "read", "--alg", algorithm]).succeeded();
    }
    app.settle().await;
    app.pass(Duration::from_secs(5)).await;
    app.settle().await;
    app
}

fn until(exported: &Finished) -> &str {
    exported.stderr.split_once("complete until ").unwrap_or_else(|| panic!("{exported:?}")).1.split_once(": ").unwrap().0
}

async fn an_export_is_the_document_that_the_server_serves(backend: Backend) {
    let app = with_keys(backend).await;
    let served = app.get("/.well-known/jwks.json").await;
    assert_eq!(served.json()["keys"].as_array().unwrap().len(), 3);
    assert_eq!(app.run(&["key", "export"]).succeeded().stdout, format!("{}\n", served.body));
    assert_eq!(app.run(&["key", "export", "--format", "jwks"]).succeeded().stdout, format!("{}\n", served.body));

    let kid = served.json()["keys"][1]["kid"].as_str().unwrap().to_owned();
    let exported = app.run(&["key", "export", &kid]).succeeded();
    assert!(exported.stderr.contains("this is 1 of 3 published keys"), "{exported:?}");
    let exported = exported.json();
    assert_eq!(exported["keys"].as_array().unwrap().len(), 1);
    assert_eq!(exported["keys"][0], served.json()["keys"][1]);
}

async fn an_export_in_pem_has_a_block_for_each_key_and_explains_it(backend: Backend) {
    let app = with_keys(backend).await;
    let exported = app.run(&["key", "export", "--format", "pem"]).succeeded().stdout;
    let served = app.get("/.well-known/jwks.json").await.json();
    let blocks: Vec<_> = exported.split("\n\n").collect();
    assert_eq!(blocks.len(), 3);
    for (block, key) in blocks.iter().zip(served["keys"].as_array().unwrap()) {
        for name in ["kid", "alg"] {
            assert!(block.contains(&format!("{name}: {}\n", key[name].as_str().unwrap())), "{block}");
        }
        assert!(block.contains("signs: from 20") && block.contains("published: from 20"), "{block}");
        // The text above the block is left out by readers of PEM.
        let public = PKey::public_key_from_pem(block.as_bytes()).unwrap();
        let bits = if key["kty"] == "RSA" { 2048 } else { 256 };
        assert!(public.bits().abs_diff(bits) <= 3, "{block}");
    }
    assert!(!exported.contains("PRIVATE"));
}

async fn an_export_says_until_when_it_suffices(backend: Backend) {
    let app = TestApp::start(backend).await;
    let next = sealwright::clock::Timestamp::from_seconds(app.now().seconds()) + 30 * DAY - Duration::from_secs(120);
    let exported = app.run(&["key", "export"]).succeeded();
    let stated = until(&exported).to_owned();
    let expected = app.database.texts(&format!("SELECT strftime('%Y-%m-%dT%H:%M:%SZ', {}, 'unixepoch')", next.seconds())).await;
    assert_eq!([stated], *expected, "the second key signs after thirty days");
    // An algorithm that has no key yet gets one at once.
    let app = app.with_orders();
    app.database.update_resource(ORDERS, ResourceChange { algorithm: Some(Algorithm::Es256), ..ResourceChange::default() });
    let exported = app.run(&["key", "export"]).succeeded();
    assert!(exported.stderr.contains("an algorithm in use has no key now"), "{exported:?}");
}

async fn a_key_that_verifiers_must_not_trust_is_not_exported(backend: Backend) {
    let app = with_keys(backend).await;
    let jwks = app.get("/.well-known/jwks.json").await.json();
    let of = |alg: &str| jwks["keys"].as_array().unwrap().iter().find(|key| key["alg"] == alg).unwrap()["kid"].as_str().unwrap().to_owned();
    let (rs256, es256) = (of("RS256"), of("ES256"));
    app.database.execute(&format!("UPDATE signing_keys SET revoked_at = 1 WHERE kid = '{es256}'")).await;
    app.run(&["key", "export", &es256]).failed_saying(&[&es256, "is revoked"]);
    app.run(&["key", "export", "nonesuch"]).failed_saying(&["no signing key nonesuch", "key list"]);
    // A kid is base64url, so one of 64 begins like an option.
    for kid in ["-_nonesuch", "--nonesuch", "-h-nonesuch"] {
        app.run(&["key", "export", kid]).failed_saying(&[&format!("no signing key {kid}")]);
        app.run(&["key", "revoke", kid, "--yes"]).failed_saying(&[&format!("no signing key {kid}")]);
    }
    // Someone who can write to the database must not be able to publish a key.
    app.database.execute(&format!("UPDATE signing_keys SET public_jwk = replace(public_jwk, 'AQAB', 'Aw') WHERE kid = '{rs256}'")).await;
    app.run(&["key", "export", &rs256]).failed_saying(&[&rs256, "is damaged", "cannot be trusted"]);
    let exported = app.run(&["key", "export"]).succeeded();
    // The server had opened the damaged key, and signs with it.
    let warned = &exported.stderr;
    assert!(warned.contains("not complete") && warned.contains(&rs256) && warned.contains("still publish"), "{exported:?}");
    assert!(!warned.contains("complete until") && !warned.contains(&es256), "{exported:?}");
    assert_eq!(exported.json()["keys"].as_array().unwrap().len(), 1);
    app.database.execute("DELETE FROM signing_keys WHERE algorithm = 'Ed25519'").await;
    app.run(&["key", "export"]).failed_saying(&["nothing to export", "sealwright check"]);
}

async fn an_export_to_a_file_replaces_nothing(backend: Backend) {
    let app = TestApp::start(backend).await;
    let file = app.database.folder().join("keys.json");
    let to_file = || app.run(&["key", "export", "--output", file.to_str().unwrap()]);
    let exported = to_file().succeeded();
    assert_eq!((exported.stdout.as_str(), exported.stderr.contains("complete until")), ("", true));
    let served = app.get("/.well-known/jwks.json").await.body;
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{served}\n"));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o755, 0o644, "public keys are for everyone");
    fs::write(&file, "mine").unwrap();
    to_file().failed_saying(&[file.to_str().unwrap(), "exists"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    app.run(&["key", "export", "--output", "no/such/folder/keys.json"]).failed_saying(&["no/such/folder/keys.json"]);
    let names: Vec<_> = fs::read_dir(app.database.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().starts_with(".sealwright-export")), "{names:?}");
}
