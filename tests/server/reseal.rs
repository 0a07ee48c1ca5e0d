//! `sealwright key reseal`: the sealing key is replaced while servers run.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::support::{
    Answer, Backend, Finished, Process, SIGN_IN, TestApp, TestDatabase, command_on, finish, furnish, header_of, on_both_databases,
    on_sqlite, on_terminal, sealwright, write_private,
};

on_both_databases![
    the_sealing_key_is_replaced_while_a_server_runs_and_tokens_and_logins_stay_valid,
    kill_9_of_key_reseal_at_any_time_loses_nothing_and_the_next_run_completes_it,
    a_run_continues_from_every_state_in_which_one_before_was_interrupted,
    a_server_without_the_new_key_is_named_and_nothing_is_sealed_with_it,
    a_compromised_sealing_key_is_replaced_together_with_all_signing_keys_and_mac_keys,
    a_row_that_does_not_open_is_named_and_left_as_it_is,
];

on_sqlite![
    an_older_backup_needs_the_retired_key_and_belongs_to_the_same_issuer,
    a_sealing_key_from_a_setting_is_replaced_by_the_operator_in_two_steps,
    a_sealing_key_that_a_link_leads_to_is_not_replaced,
    a_missing_wrong_truncated_or_exposed_sealing_key_is_refused_and_nothing_is_rewritten,
    a_running_server_keeps_its_keys_when_the_file_becomes_unusable,
    without_a_confirmation_nothing_is_replaced,
    runs_at_the_same_time_lose_nothing,
];

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn reseal(database: &TestDatabase, arguments: &[&str]) -> Finished {
    sealwright(database, &[&["key", "reseal", "--yes", "--json"], arguments].concat())
}

/// The kids in a file of sealing keys.
fn kids_in(path: impl AsRef<Path>) -> Vec<String> {
    let set: serde_json::Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn key_file(database: &TestDatabase) -> std::path::PathBuf {
    database.keys_dir().join("sealing.key")
}

/// A file with the keys of several files.
fn join_files(files: &[&Path], into: &Path) {
    let keys: Vec<serde_json::Value> = files
        .iter()
        .flat_map(|file| {
            let set: serde_json::Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
            set["keys"].as_array().unwrap().clone()
        })
        .collect();
    write_private(into, &serde_json::json!({ "keys": keys }).to_string());
}

const ALL_SEALED: &str =
    "SELECT sealed FROM sealing_canary UNION ALL SELECT sealed FROM signing_keys UNION ALL SELECT sealed FROM mac_keys";

/// The kids of the sealing keys under which the texts of the database are.
async fn kids_of_texts(database: &TestDatabase) -> BTreeSet<String> {
    let texts = database.texts(ALL_SEALED).await;
    texts.iter().map(|text| header_of(text)["kid"].as_str().unwrap().to_owned()).collect()
}

async fn sealed(database: &TestDatabase) -> Vec<String> {
    let mut all = database.texts(ALL_SEALED).await;
    all.sort();
    all
}

fn one(kid: &str) -> BTreeSet<String> {
    [kid.to_owned()].into()
}

/// Gets tokens until it is dropped, all of which must be granted.
struct Load {
    stop: Arc<AtomicBool>,
    granted: Arc<AtomicU64>,
    running: tokio::task::JoinHandle<()>,
}

impl Load {
    fn on(addr: std::net::SocketAddr, secret: &str) -> Self {
        let (stop, granted) = (Arc::new(AtomicBool::default()), Arc::new(AtomicU64::default()));
        let (stopped, count, secret) = (Arc::clone(&stop), Arc::clone(&granted), secret.to_owned());
        let running = tokio::spawn(async move {
            let http = reqwest::Client::new();
            while !stopped.load(Relaxed) {
                let request = http.post(format!("http://{addr}/oauth/token")).basic_auth("shop", Some(&secret));
                let request = request.header("content-type", "application/x-www-form-urlencoded").body("grant_type=client_credentials");
                Answer::to(request).await.granted();
                count.fetch_add(1, Relaxed);
            }
        });
        Self { stop, granted, running }
    }

    /// Ends it and requires that tokens were granted, and none was refused.
    async fn end(self) {
        self.stop.store(true, Relaxed);
        self.running.await.unwrap();
        assert!(self.granted.load(Relaxed) > 0);
    }
}

async fn form(addr: std::net::SocketAddr, secret: &str, body: &str) -> Answer {
    let request = reqwest::Client::new().post(format!("http://{addr}/oauth/token")).basic_auth("shop", Some(secret));
    Answer::to(request.header("content-type", "application/x-www-form-urlencoded").body(body.to_owned())).await
}

async fn refreshed(addr: std::net::SocketAddr, secret: &str, token: &str) -> Answer {
    form(addr, secret, &format!("grant_type=refresh_token&refresh_token={token}")).await
}

async fn jwks(addr: std::net::SocketAddr) -> String {
    reqwest::get(format!("http://{addr}/.well-known/jwks.json")).await.unwrap().text().await.unwrap()
}

/// An issuer without a server.
async fn stopped(backend: Backend) -> Arc<TestDatabase> {
    TestApp::start(backend).await.stop().await
}

async fn the_sealing_key_is_replaced_while_a_server_runs_and_tokens_and_logins_stay_valid(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let mut server = Process::serve(&database);
    let addr = server.addr().await;
    let secret = furnish(&database);
    let refresh = form(addr, &secret, &format!("grant_type=password&{SIGN_IN}")).await.refresh_token();
    let (before, published) = (kids_in(key_file(&database)), jwks(addr).await);
    let load = Load::on(addr, &secret);

    let done = reseal(&database, &[]).json();
    let new = done["sealing_key"].as_str().unwrap();
    assert_eq!((done["state"].as_str(), done["unopened"].as_array().unwrap().len()), (Some("done"), 0), "{done}");
    assert_eq!(kids_in(key_file(&database)), [new]);
    assert_ne!(before, [new]);
    assert_eq!(kids_of_texts(&database).await, one(new));
    let retired = database.keys_dir().join("sealing.key.retired");
    assert_eq!((kids_in(&retired), done["retired_file"].as_str()), (before, retired.to_str()));
    for file in [&retired, &key_file(&database)] {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let changes = sealwright(&database, &["change", "list", "--action", "key.reseal", "--json"]).json();
    assert_eq!(changes[0]["target"], new);

    load.end().await;
    let refresh = refreshed(addr, &secret, &refresh).await.refresh_token();
    assert_eq!(jwks(addr).await, published);
    let logged = |word: &str| server.stderr().iter().any(|line| line.contains(word));
    assert!(!logged("damaged") && !logged("ERROR"), "{:?}", server.stderr());
    // Another server, and the same one after a restart, open the database with the new key.
    let mut second = Process::serve(&database);
    let second = second.addr().await;
    assert_eq!(jwks(second).await, published);
    server.signal("TERM");
    assert!(server.wait().success());
    let mut server = Process::serve(&database);
    refreshed(server.addr().await, &secret, &refresh).await.granted();
    sealwright(&database, &["check"]).succeeded();
}

async fn kill_9_of_key_reseal_at_any_time_loses_nothing_and_the_next_run_completes_it(backend: Backend) {
    const ROUNDS: u64 = 12;
    let database = TestDatabase::create(backend).await;
    let mut server = Process::serve(&database);
    let addr = server.addr().await;
    let secret = furnish(&database);
    let mut refresh = form(addr, &secret, &format!("grant_type=password&{SIGN_IN}")).await.refresh_token();
    let published = jwks(addr).await;
    let load = Load::on(addr, &secret);
    let mut finished = 0;
    for round in 0..ROUNDS {
        let mut command = command_on(&database);
        command.args(["key", "reseal", "--yes", "--json"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = command.spawn().unwrap();
        // From before it does anything until after it has waited for the server.
        tokio::time::sleep(Duration::from_millis(round * 2600 / ROUNDS)).await;
        drop(running.kill());
        finished += u32::from(running.wait().unwrap().success());
        let kids = kids_in(key_file(&database));
        assert!((1..=2).contains(&kids.len()), "{kids:?}");
        let known: BTreeSet<String> = kids.iter().cloned().collect();
        assert!(kids_of_texts(&database).await.is_subset(&known), "everything opens");
        if round % 4 == 3 {
            let done = reseal(&database, &[]).json();
            assert_eq!(kids_of_texts(&database).await, one(done["sealing_key"].as_str().unwrap()));
            assert_eq!(kids_in(key_file(&database)), [done["sealing_key"].as_str().unwrap()]);
        }
        refresh = refreshed(addr, &secret, &refresh).await.refresh_token();
    }
    assert!(u64::from(finished) < ROUNDS, "some were killed");
    load.end().await;
    assert_eq!(jwks(addr).await, published);
    let left: Vec<_> = fs::read_dir(database.keys_dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".sealing.key-")), "{left:?}");
}

async fn a_run_continues_from_every_state_in_which_one_before_was_interrupted(backend: Backend) {
    let database = stopped(backend).await;
    let (file, folder) = (key_file(&database), database.folder());
    let (old_key, new_key) = (folder.join("old.key"), folder.join("new.key"));
    fs::copy(&file, &old_key).unwrap();
    let texts = database.texts("SELECT sealed FROM mac_keys WHERE name = 'refresh_token'").await.remove(0);
    let old = kids_in(&file).remove(0);

    // The new key was written into the file, and the database does not know of it yet.
    let other = stopped(Backend::Sqlite).await;
    fs::copy(key_file(&other), &new_key).unwrap();
    let new = kids_in(&new_key).remove(0);
    join_files(&[&old_key, &new_key], &file);
    assert_eq!(reseal(&database, &[]).json()["sealing_key"], new.as_str());
    assert_eq!((kids_in(&file), kids_of_texts(&database).await), (vec![new.clone()], one(&new)));

    // The canary and some rows were rewritten.
    join_files(&[&old_key, &new_key], &file);
    database.execute(&format!("UPDATE mac_keys SET sealed = '{texts}' WHERE name = 'refresh_token'")).await;
    database.execute(&format!("UPDATE sealing_canary SET successor_kid = '{new}', successor_replaces = 0")).await;
    assert_eq!(kids_of_texts(&database).await, [old.clone(), new.clone()].into());
    let done = reseal(&database, &[]).json();
    assert_eq!((done["sealing_key"].as_str(), done["resealed"].as_u64()), (Some(&*new), Some(1)), "{done}");
    assert_eq!((kids_in(&file), kids_of_texts(&database).await), (vec![new.clone()], one(&new)));

    // Everything was rewritten, and the old key is still in the file, or it is not.
    for kids in [vec![old.clone(), new.clone()], vec![new.clone()]] {
        let files = if kids.len() == 2 { vec![&*old_key, &*new_key] } else { vec![&*new_key] };
        join_files(&files, &file);
        database.execute(&format!("UPDATE sealing_canary SET successor_kid = '{new}', successor_replaces = 0")).await;
        let done = reseal(&database, &[]).json();
        assert_eq!((done["sealing_key"].as_str(), done["resealed"].as_u64()), (Some(&*new), Some(0)), "{done}");
        assert_eq!(kids_in(&file), [&*new]);
    }
    assert_eq!(kids_in(database.keys_dir().join("sealing.key.retired")), [old]);
    assert_eq!(database.texts("SELECT COALESCE(successor_kid, 'none') FROM sealing_canary").await, ["none"]);

    // The end of one is the beginning of the next.
    assert_ne!(reseal(&database, &[]).json()["sealing_key"], new.as_str());
    Process::serve(&database).addr().await;
}

async fn a_server_without_the_new_key_is_named_and_nothing_is_sealed_with_it(backend: Backend) {
    let database = stopped(backend).await;
    let elsewhere = tempfile::TempDir::new().unwrap();
    let copy = elsewhere.path().join("sealing.key");
    write_private(&copy, &fs::read_to_string(key_file(&database)).unwrap());
    let mut command = command_on(&database);
    command.args(["serve", "--listen", "127.0.0.1:0", "--keys-dir", elsewhere.path().to_str().unwrap()]);
    let mut server = Process::spawn(command);
    let addr = server.addr().await;
    let before = sealed(&database).await;

    let place = key_file(&database);
    reseal(&database, &[]).failed_saying(&[&addr.to_string(), "last seen", place.to_str().unwrap(), "continues"]);
    assert_eq!(sealed(&database).await, before);
    let both = kids_in(&place);
    assert_eq!(both.len(), 2);

    // Once the server has the key, the same command completes it.
    write_private(&copy, &fs::read_to_string(&place).unwrap());
    assert_eq!(reseal(&database, &[]).json()["sealing_key"], both[1].as_str());
    assert_eq!(kids_of_texts(&database).await, one(&both[1]));
    // A machine that still has the old key alone cannot open the database.
    server.signal("TERM");
    server.wait();
    join_files(&[&database.keys_dir().join("sealing.key.retired")], &copy);
    let keys_dir = elsewhere.path().to_str().unwrap();
    sealwright(&database, &["serve", "--listen", "127.0.0.1:0", "--keys-dir", keys_dir]).failed_saying(&[&both[1], "nothing was changed"]);
}

async fn a_compromised_sealing_key_is_replaced_together_with_all_signing_keys_and_mac_keys(backend: Backend) {
    let (app, client) = TestApp::for_users(backend).await;
    // The next key is published already.
    app.pass(29 * DAY).await;
    app.pass(5 * SECOND).await;
    app.settle().await;
    let kids = async || {
        let jwks = app.get("/.well-known/jwks.json").await.json();
        jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let known = kids().await;
    assert_eq!(known.len(), 2);
    let refresh = app.sign_in(&client).await.refresh_token();
    let macs = app.database.texts("SELECT sealed FROM mac_keys").await;

    let database = Arc::clone(&app.database);
    let running = tokio::task::spawn_blocking(move || reseal(&database, &["--compromised"]));
    while !running.is_finished() {
        app.pass(2 * SECOND).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let done = running.await.unwrap().json();
    app.settle().await;

    let withdrawn: BTreeSet<String> =
        done["signing_keys_withdrawn"].as_array().unwrap().iter().map(|kid| kid.as_str().unwrap().to_owned()).collect();
    assert_eq!((withdrawn, done["logins_ended"].as_u64()), (known.clone(), Some(1)), "{done}");
    let now_known = kids().await;
    assert!(!now_known.is_empty() && now_known.is_disjoint(&known), "{now_known:?}");
    assert!(app.database.texts("SELECT sealed FROM mac_keys").await.iter().all(|mac| !macs.contains(mac)));
    assert_eq!(kids_of_texts(&app.database).await, one(done["sealing_key"].as_str().unwrap()));
    assert_eq!(app.database.texts("SELECT ended_because FROM logins").await, ["key_replaced"]);

    app.refresh(&client, &refresh).await.refused(400, "invalid_grant");
    let signed_in = app.sign_in(&client).await;
    let token = signed_in.granted()["access_token"].as_str().unwrap().to_owned();
    assert!(now_known.contains(header_of(&token)["kid"].as_str().unwrap()));
    app.refresh(&client, &signed_in.refresh_token()).await.granted();
}

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

async fn runs_at_the_same_time_lose_nothing(backend: Backend) {
    let database = stopped(backend).await;
    let old = kids_in(key_file(&database));
    let runs: Vec<_> = (0..4)
        .map(|_| {
            let database = Arc::clone(&database);
            tokio::task::spawn_blocking(move || reseal(&database, &[]))
        })
        .collect();
    let mut succeeded = 0;
    for run in runs {
        succeeded += u32::from(run.await.unwrap().status.success());
    }
    assert!(succeeded > 0);
    // One that lost the race may have left its work to the next run.
    reseal(&database, &[]).succeeded();
    let now = kids_in(key_file(&database));
    assert!(now.len() == 1 && now != old, "{now:?}");
    assert_eq!(kids_of_texts(&database).await, one(&now[0]));
    Process::serve(&database).addr().await;
}
