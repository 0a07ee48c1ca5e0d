//! What operators have to do, and their mistakes.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    time::Duration,
};

use super::{key_file, kids_in, kids_of_texts, one, reseal, sealed, stopped};
use crate::support::{
    Backend, Process, TestApp, command_on, finish, header_of, on_both_databases, on_sqlite, on_terminal, sealwright, write_private,
};

on_both_databases![
    a_row_that_does_not_open_is_named_and_left_as_it_is,
    a_signing_key_whose_row_cannot_be_read_is_withdrawn_with_the_others_that_may_be_known,
];

on_sqlite![
    an_older_backup_needs_the_retired_key_and_belongs_to_the_same_issuer,
    a_sealing_key_from_a_setting_is_replaced_by_the_operator_in_two_steps,
    a_sealing_key_that_a_link_leads_to_is_not_replaced,
    a_sealing_key_in_a_file_that_cannot_be_replaced_is_written_to_another,
    a_missing_wrong_truncated_or_exposed_sealing_key_is_refused_and_nothing_is_rewritten,
    a_running_server_keeps_its_keys_when_the_file_becomes_unusable,
    without_a_confirmation_nothing_is_replaced,
];

const SECOND: Duration = Duration::from_secs(1);

async fn a_row_that_does_not_open_is_named_and_left_as_it_is(backend: Backend) {
    let database = stopped(backend).await;
    database
        .execute(
            "INSERT INTO signing_keys (kid, algorithm, generation, public_jwk, sealed, published_at, activates_at)
             VALUES ('lost', 'RS256', 7, '{}', 'a.b.c.d.e', 1, 1)",
        )
        .await;
    let done = reseal(&database, &[]).succeeded();
    assert!(done.stderr.contains("signing key lost does not open"), "{done:?}");
    let view: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(view["unopened"], serde_json::json!(["signing key lost"]));
    assert_eq!(database.texts("SELECT sealed FROM signing_keys WHERE kid = 'lost'").await, ["a.b.c.d.e"]);
    let sealed = database.texts("SELECT sealed FROM signing_keys WHERE kid <> 'lost'").await;
    assert_eq!(header_of(&sealed[0])["kid"], view["sealing_key"]);
}

async fn a_signing_key_whose_row_cannot_be_read_is_withdrawn_with_the_others_that_may_be_known(backend: Backend) {
    let database = stopped(backend).await;
    database
        .execute(
            "INSERT INTO signing_keys (kid, algorithm, generation, public_jwk, sealed, published_at, activates_at)
             VALUES ('unreadable', 'unknown', 7, '{}', 'a.b.c.d.e', 1, 1)",
        )
        .await;
    let done = reseal(&database, &["--compromised"]).json();
    let withdrawn = done["signing_keys_withdrawn"].as_array().unwrap();
    assert!(withdrawn.len() == 2 && withdrawn.contains(&"unreadable".into()), "{done}");
    let revoked = database.texts("SELECT kid FROM signing_keys WHERE revoked_at IS NOT NULL").await;
    assert!(revoked.len() == 2 && revoked.contains(&"unreadable".to_owned()), "{revoked:?}");
    Process::serve(&database).addr().await;
}

async fn an_older_backup_needs_the_retired_key_and_belongs_to_the_same_issuer(backend: Backend) {
    let database = stopped(backend).await;
    let copy = database.folder().join("copy.db");
    sealwright(&database, &["backup", copy.to_str().unwrap()]).succeeded();
    reseal(&database, &[]).succeeded();
    // The database that was resealed is the one that this node knows.
    Process::serve(&database).addr().await;
    for end in ["", "-wal", "-shm"] {
        drop(fs::remove_file(database.folder().join(format!("sealwright.db{end}"))));
    }
    fs::rename(&copy, database.folder().join("sealwright.db")).unwrap();
    let retired = database.keys_dir().join("sealing.key.retired");
    sealwright(&database, &["restored"]).failed_saying(&[retired.to_str().unwrap(), "older copy", "nothing was changed"]);
    fs::rename(key_file(&database), database.folder().join("newer.key")).unwrap();
    fs::copy(&retired, key_file(&database)).unwrap();
    sealwright(&database, &["serve", "--listen", "127.0.0.1:0"]).failed_saying(&["sealwright restored"]);
    sealwright(&database, &["restored"]).succeeded();
    Process::serve(&database).addr().await;
}

async fn a_sealing_key_from_a_setting_is_replaced_by_the_operator_in_two_steps(backend: Backend) {
    let database = stopped(backend).await;
    let (place, old) = (database.folder().join("mounted.key"), kids_in(key_file(&database)).remove(0));
    fs::rename(key_file(&database), &place).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = command_on(&database);
        command.env("SEALWRIGHT_SEALING_KEY_FILE", &place).args(["key", "reseal", "--yes", "--json"]).args(arguments);
        finish(command)
    };
    let serve = || {
        let mut command = command_on(&database);
        command.env("SEALWRIGHT_SEALING_KEY_FILE", &place).args(["serve", "--listen", "127.0.0.1:0"]);
        Process::spawn(command)
    };
    let mut server = serve();
    let addr = server.addr().await;
    let before = (sealed(&database).await, fs::read_to_string(&place).unwrap());
    run(&[]).failed_saying(&["the setting sealing_key", "--output FILE", "nothing was changed"]);
    let next = database.folder().join("next.key");
    let given = run(&["--output", next.to_str().unwrap()]).json();
    assert_eq!((given["state"].as_str(), given["output"].as_str()), (Some("distribute"), next.to_str()));
    let new = given["sealing_key"].as_str().unwrap();
    assert_eq!(kids_in(&next), [&*old, new]);
    assert_eq!(fs::metadata(&next).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!((sealed(&database).await, fs::read_to_string(&place).unwrap()), before);

    // The command has the new set, but the server was not restarted.
    fs::copy(&next, &place).unwrap();
    run(&[]).failed_saying(&[&addr.to_string(), new]);
    server.signal("TERM");
    server.wait();
    let mut server = serve();
    server.addr().await;
    let done = run(&[]).json();
    assert_eq!((done["sealing_key"].as_str(), &done["retired_sealing_keys"]), (Some(new), &serde_json::json!([old])));
    assert_eq!(kids_of_texts(&database).await, one(new));
    assert_eq!(kids_in(&place), [&*old, new], "the operator removes the old one");
}

async fn a_sealing_key_that_a_link_leads_to_is_not_replaced(backend: Backend) {
    let database = stopped(backend).await;
    let target = database.folder().join("mounted.key");
    fs::rename(key_file(&database), &target).unwrap();
    symlink(&target, key_file(&database)).unwrap();
    let before = (sealed(&database).await, fs::read_to_string(&target).unwrap());
    reseal(&database, &[]).failed_saying(&[key_file(&database).to_str().unwrap(), "--output FILE"]);
    assert_eq!((sealed(&database).await, fs::read_to_string(&target).unwrap()), before);
    assert!(key_file(&database).is_symlink());
}

/// A file that is mounted by itself, for example: this shows only when it is replaced.
async fn a_sealing_key_in_a_file_that_cannot_be_replaced_is_written_to_another(backend: Backend) {
    let database = stopped(backend).await;
    let file = key_file(&database);
    let (before, old) = (fs::read_to_string(&file).unwrap(), kids_in(&file).remove(0));
    let (both, alone) = (database.folder().join("both.key"), database.folder().join("alone.key"));
    let given = reseal(&database, &["--output", both.to_str().unwrap()]).json();
    let new = given["sealing_key"].as_str().unwrap();
    assert_eq!((given["state"].as_str(), kids_in(&both)), (Some("distribute"), vec![old.clone(), new.to_owned()]));
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    reseal(&database, &["--output", both.to_str().unwrap()]).failed_saying(&[both.to_str().unwrap()]);

    fs::copy(&both, &file).unwrap();
    let done = reseal(&database, &["--output", alone.to_str().unwrap()]).json();
    assert_eq!((done["sealing_key"].as_str(), &done["retired_sealing_keys"]), (Some(new), &serde_json::json!([old])));
    assert_eq!((kids_in(&file), kids_in(&alone)), (kids_in(&both), vec![new.to_owned()]));
    assert_eq!(kids_of_texts(&database).await, one(new));
}

async fn a_missing_wrong_truncated_or_exposed_sealing_key_is_refused_and_nothing_is_rewritten(backend: Backend) {
    let (database, other) = (stopped(backend).await, stopped(backend).await);
    let file = key_file(&database);
    let good = fs::read_to_string(&file).unwrap();
    let before = sealed(&database).await;
    let refused = |arguments: &[&str], words: &[&str]| {
        let content = fs::read(&file).ok();
        reseal(&database, arguments).failed_saying(words);
        assert_eq!(fs::read(&file).ok(), content, "the file is not changed");
    };
    for arguments in [vec![], vec!["--compromised"]] {
        fs::remove_file(&file).unwrap();
        refused(&arguments, &["copy sealing.key there", "nothing was changed"]);
        write_private(&file, &fs::read_to_string(key_file(&other)).unwrap());
        refused(&arguments, &["is not the one that this database was sealed with", "nothing was changed"]);
        for bad in [&good[..good.len() / 2], "", "{\"keys\":[]}"] {
            write_private(&file, bad);
            refused(&arguments, &["cannot be read", "nothing was changed"]);
        }
        write_private(&file, &good.replace("]}", &format!(",{}", &good[9..])));
        refused(&arguments, &["two of its keys have the same kid"]);
        write_private(&file, &good);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        refused(&arguments, &["can be read or written by others", "chmod 600"]);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert_eq!(sealed(&database).await, before);
    assert_eq!(database.texts("SELECT COALESCE(successor_kid, 'none') FROM sealing_canary").await, ["none"]);
    // Access of the group is kept.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    reseal(&database, &[]).succeeded();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
}

async fn a_running_server_keeps_its_keys_when_the_file_becomes_unusable(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let good = fs::read_to_string(key_file(&app.database)).unwrap();
    for bad in ["", &fs::read_to_string(key_file(&*stopped(backend).await)).unwrap()] {
        write_private(key_file(&app.database), bad);
        app.pass(2 * SECOND).await;
        app.settle().await;
        app.plain_token(&client).await.granted();
    }
    write_private(key_file(&app.database), &good);
    app.pass(2 * SECOND).await;
    let client = app.client("shop");
    app.settle().await;
    app.plain_token(&client).await.granted();
}

async fn without_a_confirmation_nothing_is_replaced(backend: Backend) {
    let database = stopped(backend).await;
    let before = (sealed(&database).await, fs::read(key_file(&database)).unwrap());
    let refused = sealwright(&database, &["key", "reseal", "--compromised"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let mut command = command_on(&database);
    command.args(["key", "reseal", "--compromised"]);
    let (code, shown) = on_terminal(command, 100, "n\n");
    assert_eq!(code, Some(1));
    for word in ["All logins end at once", "within an hour", "not confirmed"] {
        assert!(shown.contains(word), "{word:?} is not in {shown}");
    }
    assert_eq!((sealed(&database).await, fs::read(key_file(&database)).unwrap()), before);
    let mut command = command_on(&database);
    command.args(["key", "reseal"]);
    let (code, shown) = on_terminal(command, 100, "y\n");
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("sealing.key.retired"), "{shown}");
}
