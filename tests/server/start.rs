//! First starts, and starts that must be refused: one clear message, exit code 1, no data changed.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt};

use crate::support::{
    Backend, Process, TestApp, TestDatabase, command, command_on, finish, on_both_databases, on_sqlite, sealwright, serve_on_terminal,
    write_private,
};

on_both_databases![
    jk7_twenty_first_starts_at_once_create_one_key,
    a_restarted_server_uses_the_keys_and_clients_of_the_first,
    another_sealing_key_is_refused_and_no_data_is_changed,
    a_missing_sealing_key_is_refused_and_no_new_one_is_created,
    a_database_of_a_newer_version_is_refused_by_every_command,
    a_command_in_the_wrong_folder_fails_and_names_the_database,
];

on_sqlite![
    a_malformed_or_exposed_sealing_key_is_refused,
    the_sealing_key_may_come_from_the_environment,
    a_stopped_server_ends_with_exit_code_0,
    a_start_without_a_resource_says_what_to_do_next,
];

async fn jk7_twenty_first_starts_at_once_create_one_key(backend: Backend) {
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

async fn a_restarted_server_uses_the_keys_and_clients_of_the_first(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let client = app.client("billing");
    let jwks = app.get("/.well-known/jwks.json").await.body;
    let database = app.stop().await;
    let before = database.contents().await;
    let app = TestApp::start_with(database, &[]).await;
    assert_eq!(app.get("/.well-known/jwks.json").await.body, jwks);
    assert_eq!(app.database.contents().await, before);
    app.plain_token(&client).await.granted();
}

async fn with_issuer(backend: Backend) -> std::sync::Arc<TestDatabase> {
    TestApp::start(backend).await.stop().await
}

fn serve_and_fail(database: &TestDatabase, words: &[&str]) {
    sealwright(database, &["serve", "--listen", "127.0.0.1:0"]).failed_saying(words);
}

async fn another_sealing_key_is_refused_and_no_data_is_changed(backend: Backend) {
    let (database, other) = (with_issuer(backend).await, with_issuer(backend).await);
    let place = database.keys_dir().join("sealing.key");
    fs::copy(other.keys_dir().join("sealing.key"), &place).unwrap();
    let (contents, file) = (database.contents().await, fs::read(&place).unwrap());
    serve_and_fail(&database, &["sealing.key", "copy the file from the node that created the issuer", "nothing was changed"]);
    let check = sealwright(&database, &["check"]);
    assert!(check.stdout.contains("NOT USABLE"), "{check:?}");
    assert_eq!((database.contents().await, fs::read(&place).unwrap()), (contents, file));
}

async fn a_missing_sealing_key_is_refused_and_no_new_one_is_created(backend: Backend) {
    let database = with_issuer(backend).await;
    let place = database.keys_dir().join("sealing.key");
    fs::remove_file(&place).unwrap();
    let contents = database.contents().await;
    serve_and_fail(&database, &[place.to_str().unwrap(), "copy sealing.key there"]);
    assert!(!place.exists());
    assert_eq!(database.contents().await, contents);
}

async fn a_malformed_or_exposed_sealing_key_is_refused(backend: Backend) {
    let database = with_issuer(backend).await;
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
    let database = with_issuer(backend).await;
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
    let database = with_issuer(backend).await;
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

async fn a_command_in_the_wrong_folder_fails_and_names_the_database(backend: Backend) {
    // An empty database that no server has used.
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
    assert_eq!(fs::read_dir(database.folder()).unwrap().count(), 0, "no file was created");

    // Without --database-url, the message names the full path of the default file in the current folder.
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
async fn a_start_on_a_port_in_use_is_refused_and_changes_nothing() {
    let app = TestApp::start(Backend::Sqlite).await.with_orders();
    let client = app.client("billing");
    let database = with_issuer(Backend::Sqlite).await;
    let (addr, contents) = (app.addr.to_string(), database.contents().await);
    let refused = sealwright(&database, &["serve", "--listen", &addr]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    refused.failed_saying(&[&addr, "Set --listen to use another address"]);
    assert_eq!(database.contents().await, contents);
    app.plain_token(&client).await.granted();
    // A start in the wrong folder creates no file.
    let elsewhere = TestDatabase::create(Backend::Sqlite).await;
    sealwright(&elsewhere, &["serve", "--listen", &addr]).failed_saying(&[&addr, "is a server running already"]);
    let management = ["serve", "--listen", "127.0.0.1:0", "--management-listen", &addr];
    sealwright(&elsewhere, &management).failed_saying(&[&addr, "Set --management-listen to use another address"]);
    assert_eq!(fs::read_dir(elsewhere.folder()).unwrap().count(), 0, "no file was created");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_not_writable_is_refused() {
    let database = with_issuer(Backend::Sqlite).await;
    let file = database.folder().join("file");
    fs::write(&file, "").unwrap();
    // A path below a file is not writable, not even for root.
    let serve = |url: &str, keys: &str| {
        let mut command = command(database.folder());
        command.args(["serve", "--listen", "127.0.0.1:0", "--database-url", url, "--keys-dir", keys]);
        finish(command)
    };
    serve("sqlite://file/sealwright.db", "keys").failed_saying(&["database file", "file/sealwright.db", "cannot be used"]);
    serve("sqlite://missing/sealwright.db", "keys").failed_saying(&["missing/sealwright.db", "cannot be used"]);
    serve("sqlite://new.db", "file/keys").failed_saying(&["file/keys/sealing.key", "cannot be used"]);
    write_private(database.folder().join("garbage.db"), &"not a database, but long enough to look like one".repeat(100));
    serve("sqlite://garbage.db", "keys").failed_saying(&["not a database"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_created_file_is_accessible_only_to_its_owner() {
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
async fn a_database_of_another_program_is_refused_and_not_changed() {
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
async fn a_database_file_that_is_deleted_while_the_server_runs_is_noticed() {
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
async fn a_machine_that_lost_the_race_of_first_starts_keeps_no_sealing_key() {
    // A trigger acts as the other machine, which creates the issuer between this one's read and write.
    let (database, other) = (TestDatabase::create(Backend::Sqlite).await, with_issuer(Backend::Sqlite).await);
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

async fn a_start_without_a_resource_says_what_to_do_next(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let serve = || {
        let mut serve = command_on(&database);
        serve.args(["serve", "--listen", "127.0.0.1:0", "--management-listen", "off"]).env("NO_COLOR", "1");
        serve
    };
    let (code, shown) = serve_on_terminal(serve(), 80, "serving");
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("client create") && shown.contains("--allow https://orders.example=orders:read"), "{shown}");
    // A line for a person: time, level, message and fields in columns.
    let serving = shown.lines().find(|line| line.contains("serving")).unwrap();
    let (time, rest) = serving.split_at(10);
    assert!(time.ends_with("Z ") && time.matches(':').count() == 2, "{serving}");
    assert!(rest.starts_with(&format!("INFO  {:<32} issuer=", "serving")), "{serving}");

    database.orders("orders:read");
    let (code, shown) = serve_on_terminal(serve(), 80, "serving");
    assert!(code == Some(0) && !shown.contains("client create"), "{shown}");
}
