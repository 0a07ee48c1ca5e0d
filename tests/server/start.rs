//! First starts, and starts that must be refused: one clear sentence, exit code 1, nothing rewritten.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt};

use crate::support::{Backend, Process, TestApp, TestDatabase, command, command_on, finish, on_both_databases, sealwright, write_private};

on_both_databases![
    jk7_twenty_first_starts_at_once_make_one_key,
    a_second_server_goes_on_with_what_the_first_made,
    another_sealing_key_is_refused_and_nothing_is_rewritten,
    a_missing_sealing_key_is_refused_and_no_other_is_made,
    a_malformed_or_exposed_sealing_key_is_refused,
    the_sealing_key_may_come_from_the_environment,
    a_database_of_a_newer_version_is_refused_by_every_command,
    a_command_in_the_wrong_folder_refuses_and_says_where_it_looked,
    a_stopped_server_ends_with_exit_code_0,
];

async fn jk7_twenty_first_starts_at_once_make_one_key(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let mut servers: Vec<Process> = (0..20).map(|_| Process::serve(&database)).collect();
    let mut seen = BTreeSet::new();
    for server in &mut servers {
        let addr = server.addr().await;
        let jwks = reqwest::get(format!("http://{addr}/.well-known/jwks.json")).await.unwrap().text().await.unwrap();
        seen.insert(jwks);
    }
    assert_eq!(seen.len(), 1, "all publish the same set: {seen:?}");
    let keys = sealwright(&database, &["key", "list", "--json"]).json();
    let states: Vec<_> = keys.as_array().unwrap().iter().map(|key| key["state"].as_str().unwrap().to_owned()).collect();
    assert_eq!(states, ["active"]);
    assert_eq!(database.texts("SELECT sealed FROM sealing_canary").await.len(), 1);
}

async fn a_second_server_goes_on_with_what_the_first_made(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let jwks = app.get("/.well-known/jwks.json").await.body;
    let database = app.stop().await;
    let before = database.contents().await;
    let app = TestApp::start_with(database, &[]).await;
    assert_eq!(app.get("/.well-known/jwks.json").await.body, jwks);
    app.plain_token(&client).await.granted();
    assert_eq!(app.database.contents().await, before);
}

async fn founded(backend: Backend) -> std::sync::Arc<TestDatabase> {
    TestApp::start(backend).await.stop().await
}

fn serve_and_fail(database: &TestDatabase, words: &[&str]) {
    sealwright(database, &["serve", "--listen", "127.0.0.1:0"]).failed_saying(words);
}

async fn another_sealing_key_is_refused_and_nothing_is_rewritten(backend: Backend) {
    let (database, other) = (founded(backend).await, founded(backend).await);
    let place = database.keys_dir().join("sealing.key");
    fs::copy(other.keys_dir().join("sealing.key"), &place).unwrap();
    let (contents, file) = (database.contents().await, fs::read(&place).unwrap());
    serve_and_fail(&database, &["sealing.key", "copy the file from the node that created the issuer", "nothing was changed"]);
    let check = sealwright(&database, &["check"]);
    assert!(check.stdout.contains("NOT USABLE"), "{check:?}");
    assert_eq!((database.contents().await, fs::read(&place).unwrap()), (contents, file));
}

async fn a_missing_sealing_key_is_refused_and_no_other_is_made(backend: Backend) {
    let database = founded(backend).await;
    let place = database.keys_dir().join("sealing.key");
    fs::remove_file(&place).unwrap();
    let contents = database.contents().await;
    serve_and_fail(&database, &[place.to_str().unwrap(), "copy sealing.key there"]);
    assert!(!place.exists());
    assert_eq!(database.contents().await, contents);
}

async fn a_malformed_or_exposed_sealing_key_is_refused(backend: Backend) {
    let database = founded(backend).await;
    let place = database.keys_dir().join("sealing.key");
    let good = fs::read_to_string(&place).unwrap();
    assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o600);
    for bad in [&good[..good.len() / 2], "", "{\"keys\":[]}"] {
        fs::write(&place, bad).unwrap();
        serve_and_fail(&database, &["cannot be read", "restore it from its backup"]);
    }
    fs::write(&place, &good).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o644)).unwrap();
    serve_and_fail(&database, &["can be read or written by others", "644", "chmod 600"]);
}

async fn the_sealing_key_may_come_from_the_environment(backend: Backend) {
    let database = founded(backend).await;
    let place = database.keys_dir().join("sealing.key");
    let text = fs::read_to_string(&place).unwrap();
    fs::remove_file(&place).unwrap();
    let run = |key: &str| {
        let mut command = command_on(&database);
        command.env("SEALWRIGHT_SEALING_KEY", key).args(["check"]);
        finish(command)
    };
    let good = run(&text).succeeded();
    assert!(good.stdout.contains("sealing_key"), "{good:?}");
    let bad = run("hunter2");
    assert!(!bad.status.success() && !format!("{bad:?}").contains("hunter2"), "{bad:?}");
}

async fn a_database_of_a_newer_version_is_refused_by_every_command(backend: Backend) {
    let database = founded(backend).await;
    let row = match backend {
        Backend::Sqlite => "999, 'later', CURRENT_TIMESTAMP, 1, X'00', 0",
        Backend::Postgres => "999, 'later', CURRENT_TIMESTAMP, true, '\\x00', 0",
    };
    let columns = "version, description, installed_on, success, checksum, execution_time";
    database.execute(&format!("INSERT INTO _sqlx_migrations ({columns}) VALUES ({row})")).await;
    let contents = database.contents().await;
    serve_and_fail(&database, &["newer version of sealwright"]);
    sealwright(&database, &["client", "list"]).failed_saying(&["newer version of sealwright"]);
    assert_eq!(database.contents().await, contents);
}

async fn a_command_in_the_wrong_folder_refuses_and_says_where_it_looked(backend: Backend) {
    // An empty database, in which no server has ever run.
    let database = TestDatabase::create(backend).await;
    for arguments in [&["client", "list"][..], &["resource", "list"], &["key", "list"], &["client", "create", "billing"]] {
        let finished = sealwright(&database, arguments);
        match backend {
            Backend::Sqlite => finished.failed_saying(&["there is no database file", database.folder().to_str().unwrap(), "sealwright.db"]),
            Backend::Postgres => finished.failed_saying(&["holds no issuer yet", "127.0.0.1", database.url.rsplit_once('/').unwrap().1]),
        };
    }
    let check = sealwright(&database, &["check"]);
    assert!(!check.status.success() && check.stdout.contains("NOT USABLE"), "{check:?}");
    assert_eq!(fs::read_dir(database.folder()).unwrap().count(), 0, "nothing was made");

    // Without --database-url: the default is a file in the current folder, which is named whole.
    let mut default = command(database.folder());
    default.args(["client", "list"]);
    finish(default).failed_saying(&[database.folder().join("sealwright.db").to_str().unwrap()]);
}

async fn a_stopped_server_ends_with_exit_code_0(backend: Backend) {
    for signal in ["TERM", "INT"] {
        let database = TestDatabase::create(backend).await;
        let mut server = Process::serve(&database);
        server.addr().await;
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0), "{:?}", server.stderr());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_refused() {
    let app = TestApp::start(Backend::Sqlite).await;
    let database = founded(Backend::Sqlite).await;
    let addr = app.addr.to_string();
    sealwright(&database, &["serve", "--listen", &addr]).failed_saying(&[&addr, "Set --listen to use another address"]);
    // In the wrong folder as well, where nothing is made then.
    let elsewhere = TestDatabase::create(Backend::Sqlite).await;
    sealwright(&elsewhere, &["serve", "--listen", &addr]).failed_saying(&[&addr, "is a server running already"]);
    let management = ["serve", "--listen", "127.0.0.1:0", "--management-listen", &addr];
    sealwright(&elsewhere, &management).failed_saying(&[&addr, "Set --management-listen to use another address"]);
    assert_eq!(fs::read_dir(elsewhere.folder()).unwrap().count(), 0, "nothing was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_written_is_refused() {
    let database = founded(Backend::Sqlite).await;
    let file = database.folder().join("file");
    fs::write(&file, "").unwrap();
    // Below a file nobody can write, not even root.
    let serve = |url: &str, keys: &str| {
        let mut command = command(database.folder());
        command.args(["serve", "--listen", "127.0.0.1:0", "--database-url", url, "--keys-dir", keys]);
        finish(command)
    };
    serve("sqlite://file/sealwright.db", "keys").failed_saying(&["database file", "file/sealwright.db", "cannot be used"]);
    serve("sqlite://missing/sealwright.db", "keys").failed_saying(&["missing/sealwright.db", "cannot be used"]);
    serve("sqlite://new.db", "file/keys").failed_saying(&["file/keys/sealing.key", "cannot be used"]);
    write_private(database.folder().join("garbage.db"), &"this is no database, but it is long enough to look like one".repeat(100));
    serve("sqlite://garbage.db", "keys").failed_saying(&["not a database"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_that_is_made_belongs_to_its_owner_alone() {
    let database = TestDatabase::create(Backend::Sqlite).await;
    let mut server = Process::serve(&database);
    server.addr().await;
    let mut seen = Vec::new();
    for folder in [database.folder().to_owned(), database.keys_dir()] {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap).filter(|entry| entry.file_type().unwrap().is_file()) {
            seen.push(entry.file_name().into_string().unwrap());
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, ["database-record.json", "sealing.key", "sealwright.db", "sealwright.db-shm", "sealwright.db-wal"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_database_is_refused_and_not_touched() {
    let database = TestDatabase::create(Backend::Sqlite).await;
    let file = database.folder().join("sealwright.db");
    write_private(&file, "");
    sealwright(&database, &["client", "list"]).failed_saying(&["holds no issuer yet"]);
    assert_eq!(fs::read(&file).unwrap(), b"");
    database.execute("CREATE TABLE theirs (a TEXT)").await;
    let before = fs::read(&file).unwrap();
    sealwright(&database, &["client", "list"]).failed_saying(&["holds no issuer yet"]);
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_file_that_is_deleted_under_the_server_is_noticed() {
    let app = TestApp::start(Backend::Sqlite).await.with_orders();
    let client = app.client("billing");
    app.settle().await;
    app.plain_token(&client).await.granted();
    fs::remove_file(app.database.folder().join("sealwright.db")).unwrap();
    app.clock.advance(std::time::Duration::from_secs(11));
    app.plain_token(&client).await.refused(503, "temporarily_unavailable");
    assert_eq!(app.get("/health/ready").await.status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_machine_that_lost_the_race_to_found_keeps_no_key_of_its_own() {
    // The other machine founded the database between this one's look and its write: a trigger plays it.
    let (database, other) = (TestDatabase::create(Backend::Sqlite).await, founded(Backend::Sqlite).await);
    let mut first = Process::serve(&database);
    first.addr().await;
    first.signal("TERM");
    first.wait();
    fs::remove_file(database.keys_dir().join("sealing.key")).unwrap();
    let canary = other.texts("SELECT sealed FROM sealing_canary").await.remove(0);
    database.execute("DELETE FROM signing_keys").await;
    database.execute("DELETE FROM mac_keys").await;
    database.execute("DELETE FROM sealing_canary").await;
    let trigger = format!(
        "CREATE TRIGGER raced BEFORE INSERT ON sealing_canary WHEN NEW.origin <> 'elsewhere'
         BEGIN INSERT INTO sealing_canary (id, sealed, origin) VALUES (1, '{canary}', 'elsewhere'); END"
    );
    database.execute(&trigger).await;
    serve_and_fail(&database, &["sealing.key", "copy sealing.key there", "elsewhere"]);
    assert!(!database.keys_dir().join("sealing.key").exists());
}
