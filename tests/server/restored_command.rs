//! `sealwright restored`, when it fails.

use crate::support::{Backend, TestApp, on_sqlite, sealwright, write_private};

on_sqlite![the_warning_of_an_unreadable_record_is_not_lost_when_restored_fails];

async fn the_warning_of_an_unreadable_record_is_not_lost_when_restored_fails(backend: Backend) {
    let database = TestApp::start(backend).await.stop().await;
    write_private(database.keys_dir().join("database-record.json"), "not JSON");
    write_private(database.keys_dir().join("sealing.key"), &"A".repeat(43));
    let failed = sealwright(&database, &["restored"]).failed_saying(&["sealing key"]);
    assert!(failed.stderr.contains("warning: what was lost cannot be listed"), "{failed:?}");
}
