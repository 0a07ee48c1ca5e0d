//! `sealwright key import`: when an imported key is published and signs, and when none is imported.

use std::{path::PathBuf, time::Duration};

use sealwright::{protocol::Algorithm, server::commands::ResourceChange};
use tempfile::NamedTempFile;

use crate::support::{
    Backend, Finished, ORDERS, TestApp, TestDatabase, command_on, header_of, kids, on_both_databases, on_sqlite, on_terminal, private_keys,
    sealwright, write_private,
};

on_both_databases![
    an_imported_key_is_published_at_once_and_signs_after_the_lead,
    an_imported_key_signs_after_the_lead_that_was_asked_for,
    a_key_waits_for_its_turn_alone,
];

on_sqlite![
    a_lead_that_verifiers_do_not_survive_is_refused,
    an_issuer_without_keys_is_not_founded_by_an_import,
    a_key_for_an_algorithm_that_no_resource_uses_is_refused,
    a_key_is_not_imported_while_its_algorithm_has_none_that_signs,
    a_key_whose_row_is_damaged_is_not_imported_again,
    a_machine_whose_clock_is_behind_imports_no_key,
    an_import_asks_and_says_when_the_key_signs,
];

const HOUR: Duration = Duration::from_secs(3600);

/// Writes a new RSA key into a new file.
fn key(database: &TestDatabase) -> PathBuf {
    let (_, path) = NamedTempFile::new_in(database.folder()).unwrap().keep().unwrap();
    write_private(&path, &private_keys::pem(private_keys::rsa(2048)));
    path
}

fn import(database: &TestDatabase, arguments: &[&str]) -> Finished {
    let path = key(database);
    sealwright(database, &[&["key", "import", path.to_str().unwrap(), "--yes"], arguments].concat())
}

async fn an_imported_key_is_published_at_once_and_signs_after_the_lead(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let signing = async || {
        let token = app.plain_token(&client).await.granted();
        header_of(token["access_token"].as_str().unwrap())["kid"].as_str().unwrap().to_owned()
    };
    let first = kids(&app).await;
    let imported = import(&app.database, &["--alg", "RS256", "--json"]).json();
    let kid = imported["kid"].as_str().unwrap().to_owned();
    assert_eq!((imported["alg"].as_str(), imported["predecessor"].as_str()), (Some("RS256"), Some(&*first[0])));
    app.settle().await;
    assert_eq!(kids(&app).await, [kid.clone(), first[0].clone()], "verifiers can fetch it");
    assert_eq!(signing().await, first[0]);
    app.pass(24 * HOUR - Duration::from_secs(10)).await;
    assert_eq!(signing().await, first[0], "it signs until its successor does");
    app.pass(Duration::from_secs(20)).await;
    assert_eq!(signing().await, kid);
    assert_eq!(kids(&app).await.len(), 2, "tokens of the old key are verified");
    app.pass(24 * HOUR + Duration::from_secs(420)).await;
    app.settle().await;
    assert_eq!(kids(&app).await, std::slice::from_ref(&kid));

    let changes = "SELECT target FROM changes WHERE action = 'key.import'";
    assert_eq!(app.database.texts(changes).await, std::slice::from_ref(&kid));
    let app = app.restart().await;
    assert_eq!(kids(&app).await, [kid], "it opens again");
}

async fn an_imported_key_signs_after_the_lead_that_was_asked_for(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let printed = import(&app.database, &["--alg", "RS256", "--lead", "2h"]).succeeded().stdout;
    assert!(printed.contains("signs from") && printed.contains("is published until"), "{printed}");
    app.settle().await;
    let both = kids(&app).await;
    app.pass(2 * HOUR + Duration::from_secs(10)).await;
    let token = app.plain_token(&client).await.granted();
    assert_eq!(header_of(token["access_token"].as_str().unwrap())["kid"].as_str().unwrap(), both[0]);
}

async fn a_key_waits_for_its_turn_alone(backend: Backend) {
    let database = TestApp::start(backend).await.stop().await;
    let path = key(&database);
    let again = || sealwright(&database, &["key", "import", path.to_str().unwrap(), "--alg", "RS256", "--yes", "--json"]);
    let kid = again().json()["kid"].as_str().unwrap().to_owned();
    let before = database.contents().await;
    again().failed_saying(&["a signing key of this issuer already", &kid, "published", "nothing was changed"]);
    // The same key for another algorithm is the same key.
    sealwright(&database, &["key", "import", path.to_str().unwrap(), "--alg", "PS256", "--yes"]).failed_saying(&["already", &kid]);
    let signs_from = sealwright(&database, &["key", "list", "--json"]).json()[0]["activates_at"].as_str().unwrap().to_owned();
    import(&database, &["--alg", "RS256"]).failed_saying(&["published already", &kid, &signs_from, "nothing was changed"]);
    assert_eq!(database.contents().await, before);
    // Its row may be deleted a week after it has expired. The operator who revoked it had a reason.
    database.execute("DELETE FROM signing_keys WHERE generation = 2").await;
    database.execute("UPDATE changes SET action = 'key.revoke' WHERE action = 'key.import'").await;
    again().failed_saying(&[&kid, "was revoked on 20", "nothing was changed"]);
}

async fn a_key_whose_row_is_damaged_is_not_imported_again(backend: Backend) {
    let database = TestApp::start(backend).await.stop().await;
    let path = key(&database);
    let again = || sealwright(&database, &["key", "import", path.to_str().unwrap(), "--alg", "RS256", "--yes", "--json"]);
    let kid = again().json()["kid"].as_str().unwrap().to_owned();
    database.execute("UPDATE signing_keys SET published_at = 'x' WHERE generation = 2").await;
    again().failed_saying(&["a signing key of this issuer already", &kid, "damaged"]);
}

async fn a_lead_that_verifiers_do_not_survive_is_refused(backend: Backend) {
    let database = TestApp::start(backend).await.stop().await;
    let before = database.contents().await;
    for lead in ["119m", "1s"] {
        import(&database, &["--alg", "RS256", "--lead", lead]).failed_saying(&[
            "is too short: verifiers may cache the JWKS for 1h",
            "the lead must be at least 2h",
            "nothing was changed",
        ]);
    }
    assert_eq!(database.contents().await, before);
}

async fn an_issuer_without_keys_is_not_founded_by_an_import(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    import(&database, &["--alg", "RS256"]).failed_saying(&["there is no database"]);
    let database = TestApp::start(backend).await.stop().await;
    database.execute("DELETE FROM signing_keys").await;
    import(&database, &["--alg", "RS256"]).failed_saying(&["the issuer has no signing key yet", "start the server once"]);
    assert_eq!(database.texts("SELECT kid FROM signing_keys").await, [""; 0]);
}

async fn a_key_for_an_algorithm_that_no_resource_uses_is_refused(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let refused = import(&app.database, &["--alg", "PS256"]);
    refused.failed_saying(&["no resource uses PS256", "sealwright resource update", "--alg PS256", "nothing was changed"]);
    app.database.update_resource(ORDERS, ResourceChange { algorithm: Some(Algorithm::Ps256), ..ResourceChange::default() });
    import(&app.database, &["--alg", "PS256"]).failed_saying(&["no key for PS256 signs"]);
    app.settle().await;
    app.pass(Duration::from_secs(30)).await;
    app.database.execute("UPDATE signing_keys SET activates_at = activates_at - 600").await;
    let imported = import(&app.database, &["--alg", "PS256", "--json"]).json();
    assert_eq!(imported["alg"], "PS256");
}

async fn a_key_is_not_imported_while_its_algorithm_has_none_that_signs(backend: Backend) {
    let database = TestApp::start(backend).await.stop().await;
    database.execute("UPDATE signing_keys SET sealed = 'damaged'").await;
    import(&database, &["--alg", "RS256"]).failed_saying(&["no key for RS256 signs"]);
}

async fn a_machine_whose_clock_is_behind_imports_no_key(backend: Backend) {
    let app = TestApp::start(backend).await;
    app.pass(HOUR).await;
    app.settle().await;
    let before = app.database.contents().await;
    import(&app.database, &["--alg", "RS256"]).failed_saying(&["a server was alive at", "set the clock that is wrong"]);
    assert_eq!(app.database.contents().await, before);
}

async fn an_import_asks_and_says_when_the_key_signs(backend: Backend) {
    let database = TestApp::start(backend).await.stop().await;
    let path = key(&database);
    let arguments = ["key", "import", path.to_str().unwrap(), "--alg", "RS256"];
    let before = database.contents().await;
    let not_asked = sealwright(&database, &arguments);
    assert!(not_asked.status.code() == Some(2) && not_asked.stderr.contains("--yes"), "{not_asked:?}");
    let asked = |typed| {
        let mut command = command_on(&database);
        command.args(arguments);
        on_terminal(command, 400, typed)
    };
    let (code, shown) = asked("n\n");
    assert!(code == Some(1) && shown.contains("signs from") && shown.contains("is published until"), "{shown}");
    assert_eq!(database.contents().await, before);
    let (code, shown) = asked("y\n");
    assert!(code == Some(0), "{shown}");
    assert_ne!(database.contents().await, before);
}
