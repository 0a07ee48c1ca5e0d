//! Apps that authenticate by a private key.

use std::fs;

use openssl::{pkey::PKey, rsa::Rsa, symm::Cipher};
use sealwright::{
    client::{Builder, Credentials, Error, Party, PrivateKey, Secret},
    protocol::Algorithm,
};

use super::{World, text};
use crate::support::{AppKey, Backend, PASSWORD, claims_of, on_sqlite};

on_sqlite![
    pk1_an_app_gets_tokens_by_a_private_key_of_each_type_and_form,
    pk2_a_replaced_key_in_a_file_is_used_without_a_restart,
    pk1_users_sign_in_stay_signed_in_and_sign_out_by_an_app_with_a_key,
    pk1_each_request_carries_another_assertion,
    pk1_a_key_that_the_issuer_does_not_have_is_reported,
    pk1_what_is_not_a_usable_private_key_is_refused_without_a_request,
];

impl World {
    fn with_key(&self, key: PrivateKey) -> Builder {
        self.complete(Credentials::client("shop", key))
    }

    /// Gives `shop` this key, and drops its secret.
    async fn trust(&self, key: &AppKey) {
        self.app.database.add_key("shop", key.public(), None);
        self.app.settle().await;
    }
}

async fn pk1_an_app_gets_tokens_by_a_private_key_of_each_type_and_form(backend: Backend) {
    let world = World::begin(backend).await;
    for algorithm in ["RS256", "PS256", "ES256", "Ed25519"] {
        let key = AppKey::new(algorithm);
        world.trust(&key).await;
        let mut forms = vec![key.private_pem()];
        if algorithm != "Ed25519" {
            forms.push(key.private_pem_in_older_form());
        }
        for pem in forms {
            let mut private = PrivateKey::pem(pem);
            if algorithm == "PS256" {
                private = private.algorithm(Algorithm::Ps256);
            }
            let token = text(&world.with_key(private.clone()).token_source().unwrap()).await;
            assert_eq!(claims_of(&token)["sub"], "shop");
            assert_eq!(format!("{private:?}"), "PrivateKey(value)");
        }
    }
    // Under an id that only the issuer chose, the key is found by its thumbprint, and under another it is not.
    let key = AppKey::new("ES256");
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), key.public_pem()).unwrap();
    let add = ["client", "add-key", "shop", file.path().to_str().unwrap(), "--kid", "2026-12"];
    world.app.run(&add).succeeded();
    world.app.settle().await;
    text(&world.with_key(PrivateKey::pem(key.private_pem())).token_source().unwrap()).await;
    text(&world.with_key(PrivateKey::pem(key.private_pem()).kid("2026-12")).token_source().unwrap()).await;
    let unknown = world.with_key(PrivateKey::pem(key.private_pem()).kid("2026-11")).token_source().unwrap();
    assert!(matches!(unknown.token().await, Err(Error::WrongKey)));
}

async fn pk2_a_replaced_key_in_a_file_is_used_without_a_restart(backend: Backend) {
    let world = World::begin(backend).await;
    let (old, new) = (AppKey::new("ES256"), AppKey::new("RS256"));
    world.trust(&old).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), old.private_pem()).unwrap();
    let source = world.with_key(PrivateKey::file(file.path())).token_source().unwrap();
    text(&source).await;
    world.trust(&new).await;
    fs::write(file.path(), new.private_pem()).unwrap();
    world.app.run(&["client", "drop-key", "shop", "--yes", "--", &old.kid()]).succeeded();
    world.pass(480).await;
    world.asked(2).await;
    world.quiet(&source).await;
    assert!(source.status().last_error.is_none(), "{:?}", source.status());
}

async fn pk1_users_sign_in_stay_signed_in_and_sign_out_by_an_app_with_a_key(backend: Backend) {
    let world = World::begin(backend).await;
    let key = AppKey::new("ES256");
    world.trust(&key).await;
    world.app.run(&["client", "update", "shop", "--auth-method", "private_key_jwt"]).succeeded();
    world.app.settle().await;
    let users = world.with_key(PrivateKey::pem(key.private_pem())).attach_to(["http://127.0.0.1:1"]).users().unwrap();
    let tokens = users.sign_in("alice", Secret::value(PASSWORD)).await.unwrap();
    let alice = users.resume(&tokens);
    let first = text(&alice.token_source()).await;
    world.pass(570).await;
    assert_ne!(text(&alice.token_source()).await, first, "the login was refreshed");
    alice.sign_out().await.unwrap();
    assert_eq!(world.app.database.texts("SELECT id FROM logins WHERE ended_at IS NULL").await, Vec::<String>::new());

    let password = Credentials::password("shop", PrivateKey::pem(key.private_pem()), "alice", Secret::value(PASSWORD));
    text(&world.complete(password).token_source().unwrap()).await;
    assert!(matches!(world.source().token().await, Err(Error::WrongSecret)), "its secret is refused");
}

async fn pk1_each_request_carries_another_assertion(backend: Backend) {
    let world = World::begin(backend).await;
    let key = AppKey::new("Ed25519");
    world.trust(&key).await;
    let source = world.with_key(PrivateKey::pem(key.private_pem())).token_source().unwrap();
    text(&source).await;
    world.pass(480).await;
    world.asked(2).await;
    world.quiet(&source).await;
    let forms = world.relay.forms();
    let of = |form: &String| form.split('&').find_map(|parameter| parameter.strip_prefix("client_assertion=")).unwrap().to_owned();
    let (first, second) = (claims_of(&of(&forms[0])), claims_of(&of(&forms[1])));
    assert_ne!(first["jti"], second["jti"]);
    assert_eq!(first["aud"], world.relay.url.as_str());
    assert_eq!((&first["iss"], &first["sub"]), (&"shop".into(), &"shop".into()));
    assert_eq!(first["exp"].as_i64().unwrap() - first["iat"].as_i64().unwrap(), 60);
}

async fn pk1_a_key_that_the_issuer_does_not_have_is_reported(backend: Backend) {
    let world = World::begin(backend).await;
    let key = AppKey::new("ES256");
    let source = world.with_key(PrivateKey::pem(key.private_pem())).token_source().unwrap();
    let error = source.token().await.unwrap_err();
    assert!(matches!(error, Error::WrongKey) && error.party() == Party::Issuer, "{error}");
    assert!(error.to_string().contains("the public half of this key"), "{error}");
    world.trust(&key).await;
    world.pass(61).await;
    text(&source).await;
}

async fn pk1_what_is_not_a_usable_private_key_is_refused_without_a_request(backend: Backend) {
    let world = World::begin(backend).await;
    let key = AppKey::new("ES256");
    let rsa = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let encrypted = rsa.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"passphrase").unwrap();
    let short = PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap().private_key_to_pem_pkcs8().unwrap();
    let missing = world.app.database.folder().join("missing.pem");
    for (private, why) in [
        (PrivateKey::pem(key.public_pem()), "no private key in PEM"),
        (PrivateKey::pem("x"), "no private key in PEM"),
        (PrivateKey::pem(""), "is empty"),
        (PrivateKey::pem(String::from_utf8(encrypted).unwrap()), "it is encrypted"),
        (PrivateKey::pem(String::from_utf8(short).unwrap()), "at least 2,048 bits"),
        (PrivateKey::pem(key.private_pem()).algorithm(Algorithm::Rs256), "its type is not for RS256"),
        (PrivateKey::env("NO_SUCH_VARIABLE_FOR_A_KEY"), "is not set"),
        (PrivateKey::file(&missing), "missing.pem"),
    ] {
        let error = world.with_key(private).token_source().unwrap().token().await.unwrap_err();
        let words = error.to_string();
        assert!(matches!(error, Error::PrivateKey(_)) && words.contains(why) && error.party() == Party::App, "{words}");
        assert!(!words.contains("BEGIN") && !words.contains("MII"), "{words}");
    }
    assert_eq!(world.relay.token_requests(), 0);
}
