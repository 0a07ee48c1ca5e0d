//! When `sealwright restored` is needed, and when it fails.

use std::fs;

use serde_json::Value;

use crate::support::{Backend, TestApp, on_sqlite, sealwright, write_private};

on_sqlite![
    hd12_a_copy_that_lacks_nothing_but_the_revocation_of_a_token_is_refused,
    the_warning_of_an_unreadable_record_is_not_lost_when_restored_fails,
];

async fn hd12_a_copy_that_lacks_nothing_but_the_revocation_of_a_token_is_refused(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let token = app.plain_token(&client).await.access_token();
    app.settle().await;
    app.run(&["backup", "copy.db"]).succeeded();
    assert_eq!(app.revoke(&client, &format!("token={token}")).await.status, 200);
    let revoked = app.database.texts("SELECT CAST(n AS TEXT) FROM epochs WHERE kind = 'revocations'").await.remove(0);
    app.settle().await;
    let record = app.database.keys_dir().join("database-record.json");
    let seen = || serde_json::from_str::<Value>(&fs::read_to_string(&record).unwrap()).unwrap()["seen"]["revocations"].to_string();
    // It is written in the background.
    let mut looks = 0;
    while seen() != revoked {
        assert!(looks < 100, "it is not recorded");
        app.settle().await;
        looks += 1;
    }
    let database = app.stop().await;
    // As another program copies it back, without the mark of `sealwright backup`.
    for end in ["-wal", "-shm"] {
        let _ = fs::remove_file(database.folder().join(format!("sealwright.db{end}")));
    }
    fs::copy(database.folder().join("copy.db"), database.folder().join("sealwright.db")).unwrap();
    database.execute("PRAGMA user_version = 0").await;
    let refused = sealwright(&database, &["serve", "--listen", "127.0.0.1:0"]);
    refused.failed_saying(&["older than this node last saw it", "sealwright restored"]);
    sealwright(&database, &["restored"]).succeeded();
    let app = TestApp::start_with(database, &[]).await;
    app.plain_token(&client).await.granted();
}

async fn the_warning_of_an_unreadable_record_is_not_lost_when_restored_fails(backend: Backend) {
    let database = TestApp::start(backend).await.stop().await;
    write_private(database.keys_dir().join("database-record.json"), "not JSON");
    write_private(database.keys_dir().join("sealing.key"), &"A".repeat(43));
    let failed = sealwright(&database, &["restored"]).failed_saying(&["sealing key"]);
    assert!(failed.stderr.contains("warning: what was lost cannot be listed"), "{failed:?}");
}
