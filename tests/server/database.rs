//! The connection to the database: its URL, its encryption, and its loss.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    time::Duration,
};

use serde_json::Value;

use crate::{
    revocation::join_all,
    support::{
        Answer, Backend, Process, TestApp, TestDatabase, command, command_on, finish, furnish, on_both_databases, sealwright, write_private,
    },
};

on_both_databases![
    hd4_a_secret_may_come_from_a_file,
    hd8_the_same_statements_run_for_a_client_that_exists_and_for_one_that_does_not,
    op2_a_later_start_changes_nothing_and_reports_nothing,
    a_token_of_a_client_that_is_not_in_memory_takes_one_statement,
];

/// A server that refuses TLS, as an attacker in between could, and the bytes that it received.
fn refusing_tls(connect: impl FnOnce(&str)) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let listening = std::thread::spawn(move || {
        let mut seen = Vec::new();
        while stopped.recv_timeout(Duration::from_millis(5)).is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Timeout) {
            let Ok((mut stream, _)) = listener.accept() else { continue };
            stream.set_nonblocking(false).unwrap();
            let mut request = [0; 8];
            stream.read_exact(&mut request).unwrap();
            seen.extend(request);
            // A client that continues without TLS is asked for the password in plain text.
            drop(stream.write_all(b"N").and_then(|()| stream.write_all(&[b'R', 0, 0, 0, 8, 0, 0, 0, 3])));
            drop(stream.read_to_end(&mut seen));
        }
        seen
    });
    // An address of this machine that is not a loopback address.
    connect(&format!("0.0.0.0:{port}"));
    drop(stop);
    listening.join().unwrap()
}

#[test]
fn hd4_a_remote_server_that_refuses_tls_gets_no_password() {
    let folder = tempfile::tempdir().unwrap();
    let list = |url: String, tls: &str| {
        let mut command = command(folder.path());
        command.env("SEALWRIGHT_DATABASE_URL", url).env("SEALWRIGHT_DATABASE_TLS", tls).args(["client", "list"]);
        finish(command)
    };
    let clear = |seen: &[u8]| String::from_utf8_lossy(seen).contains("hunter2");
    for (mode, tls) in [("", "verified"), ("?sslmode=verify-full", "verified"), ("", "unverified"), ("?sslmode=require", "unverified")] {
        let seen = refusing_tls(|host| {
            list(format!("postgres://sw:hunter2@{host}/d{mode}"), tls).failed_saying(&["cannot be secured", "database_tls", host]);
        });
        assert_eq!(seen.len(), 8, "one request for TLS and nothing behind it: {mode} {tls}");
    }
    for mode in ["prefer", "allow", "disable", "require", "verify-ca"] {
        let seen = refusing_tls(|host| {
            let words = [&format!("sslmode={mode}"), "database_tls is verified", "set database_tls to"];
            list(format!("postgres://sw:hunter2@{host}/d?sslmode={mode}"), "verified").failed_saying(&words);
        });
        assert!(seen.is_empty(), "refused before it connects: {mode}");
    }
    // With TLS switched off, the password is sent.
    assert!(clear(&refusing_tls(|host| drop(list(format!("postgres://sw:hunter2@{host}/d"), "off")))));
}

#[test]
fn hd4_a_password_on_the_command_line_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for url in ["postgres://sw:hunter2@127.0.0.1/d", "postgres://sw@127.0.0.1/d?password=hunter2"] {
        for arguments in [&["serve"][..], &["client", "list"], &["login", "list"]] {
            let mut command = command(folder.path());
            command.args(arguments).args(["--database-url", url]);
            let refused = finish(command).failed_saying(&["command line", "SEALWRIGHT_DATABASE_URL_FILE", "PGPASSFILE"]);
            assert!(!format!("{refused:?}").contains("hunter2"), "{refused:?}");
        }
    }
}

async fn hd4_a_secret_may_come_from_a_file(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    Process::serve(&database).addr().await;
    let file = database.folder().join("url");
    write_private(&file, &format!("{}\n", database.url));
    let list = |variables: &[(&str, &str)]| {
        let mut command = command(database.folder());
        command.envs(variables.iter().copied()).args(["client", "list"]);
        finish(command)
    };
    let named = ("SEALWRIGHT_DATABASE_URL_FILE", file.to_str().unwrap());
    list(&[named]).succeeded();
    list(&[named, ("SEALWRIGHT_DATABASE_URL", "")]).succeeded();
    let both = list(&[named, ("SEALWRIGHT_DATABASE_URL", "postgres://sw:hunter2@h/d")]);
    both.failed_saying(&["SEALWRIGHT_DATABASE_URL_FILE", "SEALWRIGHT_DATABASE_URL is set too", "url"]);
    list(&[("SEALWRIGHT_DATABASE_URL_FILE", "missing")]).failed_saying(&["missing", "SEALWRIGHT_DATABASE_URL_FILE", "No such file"]);
    write_private(&file, "postgres://sw:hunter2/@h/d");
    let refused = list(&[named]).failed_saying(&["from the file", "/ as %2F"]);
    assert!(!refused.stderr.contains("hunter2"), "{refused:?}");

    let place = database.keys_dir().join("sealing.key");
    let elsewhere = database.folder().join("key");
    fs::rename(&place, &elsewhere).unwrap();
    let mut check = command_on(&database);
    check.env("SEALWRIGHT_SEALING_KEY_FILE", &elsewhere).args(["check"]);
    finish(check).succeeded();
    // Settings without a secret have no such variable.
    list(&[("SEALWRIGHT_LISTEN_FILE", "x")]).failed_saying(&["unknown setting listen_file"]);
}

#[test]
fn op3_op4_mistakes_in_a_url_are_refused_by_every_command_and_no_password_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let urls = [
        ("postgres://sw:hunter2/x@127.0.0.1/d", "/ as %2F"),
        ("postgres://sw:hunter2@x@127.0.0.1/d", "@ as %40"),
        ("postgres://sw:hunter2#x@127.0.0.1/d", "# as %23"),
        ("postgres://sw:hunter2?x@127.0.0.1/d", "? as %3F"),
        ("postgres://sw@127.0.0.1/d?passwd=hunter2", "did you mean password?"),
        ("postgres://sw@127.0.0.1/d?sslmod=require", "did you mean sslmode?"),
        ("postgres://sw@127.0.0.1/d?ssl=true", "did you mean sslmode?"),
        ("postgres://sw@127.0.0.1/d?ssl_mode=require", "did you mean sslmode?"),
        ("postgres://sw@127.0.0.1/d?SSLMODE=require", "did you mean sslmode?"),
        ("postgres://sw@127.0.0.1/d?schema=auth", "options"),
    ];
    for (url, words) in urls {
        for arguments in [&["serve", "--log", "trace"][..], &["client", "list"], &["user", "list"], &["key", "list"], &["login", "list"]] {
            let mut command = command(folder.path());
            command.env("SEALWRIGHT_DATABASE_URL", url).args(arguments);
            let refused = finish(command).failed_saying(&["database_url", words]);
            assert!(!format!("{refused:?}").contains("hunter"), "{refused:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn op2_a_role_that_may_not_create_and_a_read_only_database_are_reported() {
    let database = TestDatabase::create(Backend::Postgres).await;
    let name = database.url.rsplit_once('/').unwrap().1.to_owned();
    let role = format!("role_{name}");
    database.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'pw'")).await;
    database.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
    let server = database.url.rsplit_once('@').unwrap().1;
    let mut serve = command(database.folder());
    serve.env("SEALWRIGHT_DATABASE_URL", format!("postgres://{role}:pw@{server}")).args(["serve", "--listen", "127.0.0.1:0"]);
    finish(serve).failed_saying(&["permission denied for schema public", "needs CREATE", &name]);
    let locks = "SELECT 'lock' FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(database.texts(locks).await, Vec::<String>::new());
    database.execute(&format!("DROP ROLE {role}")).await;

    database.execute(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["client", "list"]] {
        sealwright(&database, arguments).failed_saying(&["read-only standby", &name]);
    }
}

async fn op2_a_later_start_changes_nothing_and_reports_nothing(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    Process::serve(&database).addr().await;
    let before = database.contents().await;
    let mut server = logging_statements(&database);
    server.addr().await;
    let logged = server.stderr().join("\n");
    assert!(!logged.contains("already exists") && !logged.contains("CREATE TABLE"), "{logged}");
    assert_eq!(database.contents().await, before);
}

/// `serve`, which logs its statements.
fn logging_statements(database: &TestDatabase) -> Process {
    let mut serve = command_on(database);
    serve.args(["serve", "--listen", "127.0.0.1:0", "--log", "info,sqlx=debug"]);
    Process::spawn(serve)
}

/// Stops a server, and returns its statements on the tables of clients. It reads withdrawals all the time, and deletes old rows.
fn statements_on_clients(mut server: Process) -> Vec<String> {
    server.signal("TERM");
    // Then all lines of the log are written.
    assert!(server.wait().success());
    let lines = server.stderr();
    let events = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events
        .filter_map(|event| event["db.statement"].as_str().or_else(|| event["summary"].as_str()).map(|sql| sql.trim().to_owned()))
        .filter(|sql| sql.contains("client") || sql.contains("status_spans"))
        .filter(|sql| !sql.contains("FROM withdrawals") && !sql.starts_with("DELETE"))
        .collect()
}

/// A server on a new database, with a client named shop, and the client's secret.
async fn founded(database: &TestDatabase) -> (Process, String) {
    let mut server = Process::serve(database);
    server.addr().await;
    (server, furnish(database))
}

async fn request_token(server: &mut Process, id: &str, secret: &str) -> Answer {
    let url = format!("http://{}/oauth/token", server.addr().await);
    let request = reqwest::Client::new().post(url).basic_auth(id, Some(secret));
    Answer::to(request.header("content-type", "application/x-www-form-urlencoded").body("grant_type=client_credentials")).await
}

async fn hd8_the_same_statements_run_for_a_client_that_exists_and_for_one_that_does_not(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    drop(founded(&database).await);
    let mut seen = Vec::new();
    for id in ["shop", "unknown"] {
        let mut server = logging_statements(&database);
        request_token(&mut server, id, "wrong").await.refused(401, "invalid_client");
        seen.push(statements_on_clients(server));
    }
    assert_eq!(seen[0].len(), 1, "{seen:?}");
    assert_eq!(seen[0], seen[1]);
}

async fn a_token_of_a_client_that_is_not_in_memory_takes_one_statement(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let (mut earlier, secret) = founded(&database).await;
    // Its first token gives it a span of a status list.
    request_token(&mut earlier, "shop", &secret).await.granted();
    drop(earlier);

    let mut server = logging_statements(&database);
    request_token(&mut server, "shop", &secret).await.granted();
    let mut statements = statements_on_clients(server);
    // It writes that when it stops, if not before.
    statements.retain(|sql| !sql.starts_with("UPDATE client_secrets SET last_used_at"));
    assert_eq!(statements.len(), 1, "{statements:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn op11_a_write_that_postgresql_rolls_back_for_another_is_run_again() {
    let (app, client) = TestApp::for_users(Backend::Postgres).await;
    let mut token = app.sign_in(&client).await.refresh_token();
    for code in ["40001", "40P01"] {
        for sql in [
            "DROP SEQUENCE IF EXISTS tries",
            "CREATE SEQUENCE tries",
            // A rollback does not reset a sequence.
            &format!(
                "CREATE OR REPLACE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 IF nextval('tries') < 3 THEN RAISE EXCEPTION 'made up' USING ERRCODE = '{code}'; END IF; RETURN NEW; END $$"
            ),
            "DROP TRIGGER IF EXISTS conflict ON logins",
            "CREATE TRIGGER conflict BEFORE UPDATE ON logins FOR EACH ROW EXECUTE FUNCTION conflict()",
        ] {
            app.database.execute(sql).await;
        }
        token = app.refresh(&client, &token).await.refresh_token();
        assert_eq!(app.database.texts("SELECT CAST(last_value AS TEXT) FROM tries").await, ["3"], "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn op11_equal_refreshes_at_once_succeed_under_default_isolation_serializable() {
    let database = TestDatabase::create(Backend::Postgres).await;
    let name = database.url.rsplit_once('/').unwrap().1.to_owned();
    database.execute(&format!("ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")).await;
    let app = TestApp::start_with(database, &[]).await.with_orders();
    let client = app.app_for_users("shop");
    app.user("alice");
    let mut token = app.sign_in(&client).await.refresh_token();
    for _ in 0..12 {
        let answers = join_all((0..6).map(|_| app.refresh(&client, &token))).await;
        token = answers[0].refresh_token();
        assert!(answers.iter().all(|answer| answer.refresh_token() == token));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn op6_connections_to_a_database_that_becomes_read_only_are_replaced_until_it_is_writable() {
    let (app, client) = TestApp::for_users(Backend::Postgres).await;
    app.get("/health/ready").await;
    let name = app.database.url.rsplit_once('/').unwrap().1.to_owned();
    let cut = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()");
    let ready = async |reason: Option<&str>| {
        for _ in 0..100 {
            app.settle().await;
            let answer = app.get("/health/ready").await;
            if reason.map_or(answer.status == 200, |reason| answer.status == 503 && answer.body.contains(reason)) {
                return;
            }
        }
        panic!("not {reason:?}: {}", app.get("/health/ready").await.body);
    };
    app.database.execute(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    app.database.execute(&cut).await;
    ready(Some("it is read-only")).await;
    app.database.execute(&format!("BEGIN READ WRITE; ALTER DATABASE {name} RESET default_transaction_read_only; COMMIT")).await;
    ready(None).await;
    app.sign_in(&client).await.granted();
}
