//! Lost databases, copies, and databases that are older than what the node has seen.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, sync::Arc, time::Duration};

use serde_json::{Value, json};

use crate::support::{
    Answer, Backend, Credential, Process, TestApp, TestDatabase, command_on, furnish, on_both_databases, on_sqlite, sealwright, wait_until,
    write_private,
};

on_both_databases![
    op9_an_empty_database_with_a_sealing_key_is_refused_and_stays_empty,
    op9_a_first_start_that_was_interrupted_before_its_issuer_was_stored_can_be_repeated,
    op9_a_sealing_key_from_the_environment_creates_an_issuer_only_with_a_setting,
    hd12_a_database_that_is_set_back_is_refused_until_restored_has_run,
    hd12_a_server_whose_database_is_set_back_stops_issuing_and_continues_after_restored,
    hd12_a_second_node_with_its_own_record_continues_after_restored,
    hd12_another_issuer_s_database_under_the_same_sealing_key_is_refused,
];

on_sqlite![hd12_a_record_that_cannot_be_read_is_refused_and_replaced_by_restored];

fn serve(database: &TestDatabase, arguments: &[&str]) -> crate::support::Finished {
    sealwright(database, &[&["serve", "--listen", "127.0.0.1:0"], arguments].concat())
}

fn record(database: &TestDatabase) -> PathBuf {
    database.keys_dir().join("database-record.json")
}

fn recorded(database: &TestDatabase) -> Value {
    serde_json::from_str(&fs::read_to_string(record(database)).unwrap()).unwrap()
}

/// The same folder of keys with an empty database.
async fn beside_an_empty_database(backend: Backend) -> TestDatabase {
    let (former, empty) = (TestApp::start(backend).await.stop().await, TestDatabase::create(backend).await);
    fs::rename(former.keys_dir(), empty.keys_dir()).unwrap();
    empty
}

/// Creates an issuer in the database by starting and stopping a server.
async fn found(database: &TestDatabase) {
    let mut command = command_on(database);
    command.args(["serve", "--found-new-issuer", "--listen", "127.0.0.1:0"]);
    let mut server = Process::spawn(command);
    server.addr().await;
    server.signal("TERM");
    server.wait();
}

async fn op9_an_empty_database_with_a_sealing_key_is_refused_and_stays_empty(backend: Backend) {
    let database = beside_an_empty_database(backend).await;
    let key = database.keys_dir().join("sealing.key");
    let (text, seen) = (fs::read_to_string(&key).unwrap(), fs::read_to_string(record(&database)).unwrap());
    serve(&database, &[]).failed_saying(&[
        key.to_str().unwrap(),
        database.url.rsplit_once('/').unwrap().1,
        "is lost",
        "backup",
        "--found-new-issuer",
    ]);
    assert_eq!(fs::read_dir(database.folder()).unwrap().count(), 1, "only the keys are there");
    if backend == Backend::Postgres {
        assert_eq!(database.texts("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'").await, [""; 0]);
    }
    assert_eq!((fs::read_to_string(&key).unwrap(), fs::read_to_string(record(&database)).unwrap()), (text.clone(), seen));

    found(&database).await;
    assert_eq!(fs::read_to_string(&key).unwrap(), text, "with the key that is there");
    // From then on, it is a normal issuer.
    TestApp::start_with(database, &[]).await.stop().await;
}

async fn op9_a_first_start_that_was_interrupted_before_its_issuer_was_stored_can_be_repeated(backend: Backend) {
    let database = beside_an_empty_database(backend).await;
    let key = fs::read_to_string(database.keys_dir().join("sealing.key")).unwrap();
    let mark = database.keys_dir().join("sealing.key.founding");
    assert!(!mark.exists(), "a first start that ended well leaves no mark");
    fs::write(&mark, "the kid of another key").unwrap();
    serve(&database, &[]).failed_saying(&["is lost", "--found-new-issuer"]);

    let kid = serde_json::from_str::<Value>(&key).unwrap()["keys"][0]["kid"].as_str().unwrap().to_owned();
    fs::write(&mark, kid).unwrap();
    let app = TestApp::start_with(database, &[]).await;
    assert!(!mark.exists());
    assert_eq!(fs::read_to_string(app.database.keys_dir().join("sealing.key")).unwrap(), key);
}

async fn op9_a_sealing_key_from_the_environment_creates_an_issuer_only_with_a_setting(backend: Backend) {
    let former = TestApp::start(backend).await.stop().await;
    let key = fs::read_to_string(former.keys_dir().join("sealing.key")).unwrap();
    let database = TestDatabase::create(backend).await;
    let serve = |arguments: &[&str]| {
        let mut command = command_on(&database);
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(arguments);
        command.env("SEALWRIGHT_SEALING_KEY", &key);
        command
    };
    crate::support::finish(serve(&[])).failed_saying(&["sealing_key", "--found-new-issuer"]);
    assert_eq!(fs::read_dir(database.folder()).unwrap().count(), 0, "nothing was made");
    Process::spawn(serve(&["--found-new-issuer"])).addr().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn op9_a_file_without_tables_with_a_sealing_key_is_refused_and_not_changed() {
    let database = TestDatabase::create(Backend::Sqlite).await;
    let mut server = Process::serve(&database);
    server.addr().await;
    // The content of a copy of the file alone, while everything is still in the log.
    let file = database.folder().join("sealwright.db");
    let alone = fs::read(&file).unwrap();
    server.signal("KILL");
    server.wait();
    for name in ["sealwright.db", "sealwright.db-wal", "sealwright.db-shm"] {
        fs::remove_file(database.folder().join(name)).unwrap();
    }
    write_private(&file, "");
    fs::write(&file, &alone).unwrap();
    serve(&database, &[]).failed_saying(&["contains no issuer", "-wal", "sealwright backup FILE", "--found-new-issuer"]);
    assert_eq!(fs::read(&file).unwrap(), alone);
    write_private(&file, "");
    serve(&database, &[]).failed_saying(&["is missing", "--found-new-issuer"]);
    assert_eq!(fs::read(&file).unwrap(), b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn op8_a_backup_of_a_running_server_is_one_complete_file_that_only_its_owner_can_read() {
    let (app, shop) = TestApp::for_users(Backend::Sqlite).await;
    let copy = app.database.folder().join("copy.db");
    let said = app.run(&["backup", "copy.db"]).succeeded().stdout;
    assert!(said.contains(copy.to_str().unwrap()) && said.contains("sealwright restored"), "{said}");
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!app.database.folder().join("copy.db-wal").exists());
    let before = fs::read(&copy).unwrap();
    app.run(&["backup", "copy.db"]).failed_saying(&["copy.db", "not created", "exists"]);
    assert_eq!(fs::read(&copy).unwrap(), before, "nothing is overwritten");
    app.run(&["backup", "missing/copy.db"]).failed_saying(&["missing/copy.db", "not created"]);
    app.plain_token(&shop).await.granted();

    // On another machine, with the sealing key and without a record.
    let other = TestDatabase::create(Backend::Sqlite).await;
    fs::create_dir(other.keys_dir()).unwrap();
    fs::copy(app.database.keys_dir().join("sealing.key"), other.keys_dir().join("sealing.key")).unwrap();
    fs::copy(&copy, other.folder().join("sealwright.db")).unwrap();
    serve(&other, &[]).failed_saying(&["a copy that `sealwright backup` created", "sealwright restored"]);
    let report = sealwright(&other, &["restored", "--json"]).json();
    assert_eq!((report["recorded"].as_bool(), report["changes_lost"].as_array().unwrap().len()), (Some(false), 0));
    let other = TestApp::start_with(other, &[]).await;
    other.plain_token(&shop).await.granted();
}

#[tokio::test(flavor = "multi_thread")]
async fn op8_a_backup_of_postgres_is_refused_with_the_commands_to_use() {
    let app = TestApp::start(Backend::Postgres).await;
    app.run(&["backup", "copy.db"]).failed_saying(&["pg_dump --format=custom", "pg_restore", "sealwright restored"]);
    assert!(!app.database.folder().join("copy.db").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn op8_a_restored_file_beside_the_log_of_the_former_one_is_refused_by_every_command() {
    let database = TestDatabase::create(Backend::Sqlite).await;
    let mut server = Process::serve(&database);
    server.addr().await;
    furnish(&database);
    let [file, log, copy] = ["sealwright.db", "sealwright.db-wal", "copy.db"].map(|name| database.folder().join(name));
    sealwright(&database, &["backup", "copy.db"]).succeeded();
    sealwright(&database, &["user", "disable", "alice"]).succeeded();
    server.signal("KILL");
    server.wait();
    let left = fs::read(&log).unwrap();
    assert!(!left.is_empty(), "the log is still there");
    fs::copy(&copy, &file).unwrap();
    for arguments in [&["client", "list"][..], &["check"], &["restored"], &["backup", "other.db"], &["serve", "--listen", "127.0.0.1:0"]] {
        let finished = sealwright(&database, arguments);
        let said = format!("{}{}", finished.stdout, finished.stderr);
        assert!(
            !finished.status.success()
                && said.contains("seems to have replaced another database file")
                && said.contains(log.to_str().unwrap()),
            "{finished:?}"
        );
        assert_eq!((fs::read(&file).unwrap(), fs::read(&log).unwrap()), (fs::read(&copy).unwrap(), left.clone()), "{arguments:?}");
    }
    fs::remove_file(&log).unwrap();
    fs::remove_file(database.folder().join("sealwright.db-shm")).unwrap();
    serve(&database, &[]).failed_saying(&["sealwright restored"]);
    sealwright(&database, &["restored"]).succeeded();
    let mut server = Process::serve(&database);
    server.addr().await;
    assert!(sealwright(&database, &["user", "show", "alice", "--json"]).json()["disabled_at"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn op8_a_log_that_was_left_by_a_crash_is_replayed() {
    let database = TestDatabase::create(Backend::Sqlite).await;
    let mut server = Process::serve(&database);
    server.addr().await;
    let secret = furnish(&database);
    server.signal("KILL");
    server.wait();
    // Also if the file is newer than the log, as after a checkpoint.
    fs::OpenOptions::new().write(true).open(database.folder().join("sealwright.db")).unwrap();
    let app = TestApp::start_with(database, &[]).await;
    app.plain_token(&Credential { id: "shop".to_owned(), secret }).await.granted();
}

/// Replaces the database by the copy, without the mark of `sealwright backup`, like a copy by another program.
async fn put_back(database: &TestDatabase, copy: &str) {
    for end in ["-wal", "-shm"] {
        let _ = fs::remove_file(database.folder().join(format!("sealwright.db{end}")));
    }
    fs::copy(database.folder().join(copy), database.folder().join("sealwright.db")).unwrap();
    database.execute("PRAGMA user_version = 0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hd12_nothing_that_was_revoked_since_the_copy_is_valid_again() {
    let (app, shop) = TestApp::for_users(Backend::Sqlite).await;
    let kept = app.sign_in(&shop).await.refresh_token();
    app.run(&["backup", "copy.db"]).succeeded();
    let used = app.refresh(&shop, &kept).await.refresh_token();
    let second = app.database.add_secret(&shop, None).secret[3..19].to_owned();
    app.database.drop_secret(&shop);
    app.database.disable_user("alice");
    app.settle().await;
    let database = app.stop().await;
    put_back(&database, "copy.db").await;
    let contents = database.contents().await;
    serve(&database, &[]).failed_saying(&["older than this node last saw it", record(&database).to_str().unwrap(), "sealwright restored"]);
    assert_eq!(database.contents().await, contents);
    let check = sealwright(&database, &["check"]);
    assert!(!check.status.success() && check.stdout.contains("sealwright restored"), "{check:?}");

    let report = sealwright(&database, &["restored", "--json"]).json();
    assert_eq!((report["logins_ended"].as_u64(), report["signing_keys_withdrawn"].clone()), (Some(1), json!([])));
    let lost: Vec<_> = report["changes_lost"].as_array().unwrap().iter().map(|lost| [&lost["action"], &lost["target"]]).collect();
    let first = format!("shop {}", &shop.secret[3..19]);
    let second = format!("shop {second}");
    let expected = [["client.add_secret", &second], ["client.drop_secret", &first], ["user.disable", "alice"]];
    assert_eq!(json!(lost), json!(expected));
    assert!(report["changes_lost"][1]["advice"].as_str().unwrap().contains("drop it again"));
    assert!(report["changes_lost"][0]["at"].as_str().unwrap().ends_with('Z'));

    let app = TestApp::start_with(database, &[]).await;
    for token in [&kept, &used] {
        app.refresh(&shop, token).await.refused(400, "invalid_grant");
    }
    let mine = app.sign_in(&shop).await.refresh_token();
    app.refresh(&shop, &mine).await.refresh_token();
    let ended = app.database.texts("SELECT ended_because FROM logins WHERE ended_at IS NOT NULL").await;
    assert_eq!(ended, ["restored"]);
    // The server starts, and starts again.
    let database = app.stop().await;
    TestApp::start_with(database, &[]).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hd12_a_signing_key_that_was_withdrawn_since_the_copy_stays_withdrawn() {
    let app = TestApp::start(Backend::Sqlite).await.with_orders();
    let client = app.client("billing");
    let kids = |answer: &Answer| -> Vec<String> {
        answer.json()["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    };
    let leaked = kids(&app.get("/.well-known/jwks.json").await);
    app.run(&["backup", "copy.db"]).succeeded();
    let database = app.stop().await;
    // As docs/operating.md describes it.
    database.execute("DELETE FROM signing_keys").await;
    let app = TestApp::start_with(database, &[]).await;
    let newer = kids(&app.get("/.well-known/jwks.json").await);
    let database = app.stop().await;
    put_back(&database, "copy.db").await;
    let report = sealwright(&database, &["restored", "--json"]).json();
    assert_eq!((&report["signing_keys_withdrawn"], &report["signing_keys_lost"]), (&json!(leaked), &json!(newer)));
    let app = TestApp::start_with(database, &[]).await;
    app.pass(Duration::from_secs(30)).await;
    let now = kids(&app.get("/.well-known/jwks.json").await);
    assert!(now.len() == 1 && now != leaked && now != newer, "{now:?}");
    app.plain_token(&client).await.granted();
    let keys = app.run_json(&["key", "list"]);
    assert!(keys.as_array().unwrap().iter().any(|key| key["kid"] == leaked[0] && key["state"] == "revoked"), "{keys}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hd12_a_copy_is_noticed_although_only_refresh_tokens_have_changed_since() {
    let (app, shop) = TestApp::for_users(Backend::Sqlite).await;
    let token = app.sign_in(&shop).await.refresh_token();
    app.settle().await;
    app.run(&["backup", "copy.db"]).succeeded();
    app.refresh(&shop, &token).await.refresh_token();
    let beat = || recorded(&app.database)["seen"]["heartbeat"].as_i64().unwrap();
    let first = beat();
    for _ in 0..40 {
        app.pass(Duration::from_secs(10)).await;
    }
    wait_until(|| beat() > first + 120).await;
    let database = app.stop().await;
    put_back(&database, "copy.db").await;
    serve(&database, &[]).failed_saying(&["older than this node last saw it"]);
}

async fn set_back(database: &TestDatabase) {
    database.execute("DELETE FROM changes WHERE n = (SELECT MAX(n) FROM changes)").await;
    database.execute("UPDATE epochs SET n = n - 1 WHERE kind IN ('registry', 'changes')").await;
}

async fn hd12_a_database_that_is_set_back_is_refused_until_restored_has_run(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let token = app.sign_in(&shop).await.refresh_token();
    app.settle().await;
    let seen = || recorded(&app.database)["seen"]["changes"].as_i64().unwrap();
    wait_until(|| seen() == 4).await;
    let database = app.stop().await;
    set_back(&database).await;
    serve(&database, &[]).failed_saying(&["older than this node last saw it", "sealwright restored"]);
    let shown = sealwright(&database, &["restored"]).succeeded().stdout;
    for word in ["logins ended    1", "user.create", "alice", "create them again"] {
        assert!(shown.contains(word), "{word} is not in {shown}");
    }
    let app = TestApp::start_with(database, &[]).await;
    app.refresh(&shop, &token).await.refused(400, "invalid_grant");
    let newest = app.database.texts("SELECT CAST(MAX(n) AS TEXT) FROM changes").await;
    assert!(newest[0].parse::<i64>().unwrap() > 5, "no number of a lost change is used again");
}

async fn hd12_a_server_whose_database_is_set_back_stops_issuing_and_continues_after_restored(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    let token = app.sign_in(&shop).await.refresh_token();
    app.settle().await;
    set_back(&app.database).await;
    app.stops_issuing(&shop).await;
    let ready = app.get("/health/ready").await;
    assert_eq!((ready.status, ready.body.contains("run `sealwright restored`")), (503, true), "{ready:?}");
    app.run(&["restored"]).succeeded();
    app.settle().await;
    app.refresh(&shop, &token).await.refused(400, "invalid_grant");
    let fresh = app.sign_in(&shop).await.refresh_token();
    app.refresh(&shop, &fresh).await.refresh_token();
    let database = app.stop().await;
    // The answer is repeated: the running server uses the key that is in the database.
    TestApp::start_with(database, &[]).await.refresh(&shop, &fresh).await.refresh_token();
}

async fn hd12_a_second_node_with_its_own_record_continues_after_restored(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    app.client("billing");
    app.settle().await;
    let keys = app.database.folder().join("other-keys");
    fs::create_dir(&keys).unwrap();
    fs::copy(app.database.keys_dir().join("sealing.key"), keys.join("sealing.key")).unwrap();
    let other = [("keys_dir", keys.to_str().unwrap())];
    let database: Arc<TestDatabase> = app.stop().await;
    let database = TestApp::start_with(database, &other).await.stop().await;
    set_back(&database).await;
    let second = |database: &TestDatabase| serve(database, &["--keys-dir", keys.to_str().unwrap()]);
    serve(&database, &[]).failed_saying(&["older than this node"]);
    second(&database).failed_saying(&["older than this node", keys.to_str().unwrap()]);
    sealwright(&database, &["restored"]).succeeded();
    // It has seen no more than the first node, and the numbers in the database are higher now.
    let app = TestApp::start_with(database, &other).await;
    app.stop().await;
}

async fn hd12_a_record_that_cannot_be_read_is_refused_and_replaced_by_restored(backend: Backend) {
    let database = TestApp::start(backend).await.stop().await;
    let place = record(&database);
    let good = fs::read_to_string(&place).unwrap();
    for (bad, words) in [
        (&good[..good.len() / 2], ["cannot be read", "remove the record"]),
        ("", ["cannot be read", "sealwright restored"]),
        (&good.replace("\"format\":1", "\"format\":2"), ["newer version", "format 2"]),
    ] {
        fs::write(&place, bad).unwrap();
        serve(&database, &[]).failed_saying(&words);
        assert_eq!(fs::read_to_string(&place).unwrap(), bad);
        let restored = sealwright(&database, &["restored", "--json"]).succeeded();
        assert!(restored.stderr.contains("warning: what was lost cannot be listed"), "{restored:?}");
        assert_eq!(recorded(&database)["format"], 1);
    }
    // Without a record there is nothing to compare with, so a new one is created.
    fs::remove_file(&place).unwrap();
    let database = TestApp::start_with(database, &[]).await.stop().await;
    assert_eq!(recorded(&database)["journal"][0]["action"], "database.restored");
    assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o600);
}

async fn hd12_another_issuer_s_database_under_the_same_sealing_key_is_refused(backend: Backend) {
    let database = beside_an_empty_database(backend).await;
    let former = fs::read_to_string(record(&database)).unwrap();
    found(&database).await;
    fs::write(record(&database), former).unwrap();
    serve(&database, &[]).failed_saying(&["another issuer", "--database-url", "sealwright restored"]);
    sealwright(&database, &["restored"]).succeeded();
    TestApp::start_with(database, &[]).await.stop().await;
}
