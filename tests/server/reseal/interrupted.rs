//! Runs that are interrupted, wait for a server, or race others.

use std::{collections::BTreeSet, fs, process::Stdio, sync::Arc, time::Duration};

use super::{
    join_files, key_file, kids_in, kids_of_texts, one, reseal,
    running::{Load, form, jwks, refreshed},
    sealed, stopped,
};
use crate::support::{
    Backend, Process, SIGN_IN, TestDatabase, command_on, furnish, on_both_databases, on_sqlite, sealwright, write_private,
};

on_both_databases![
    kill_9_of_key_reseal_at_any_time_loses_nothing_and_the_next_run_completes_it,
    a_run_continues_from_every_state_in_which_one_before_was_interrupted,
    a_key_that_is_recorded_and_in_no_file_is_replaced_by_another,
    a_run_that_replaces_all_keys_is_continued_as_such,
    a_key_of_the_file_that_is_not_recorded_is_never_sealed_with,
    a_server_without_the_new_key_is_named_and_nothing_is_sealed_with_it,
];

on_sqlite![runs_at_the_same_time_lose_nothing,];

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

    // The new key is in the file, and nothing is sealed with it yet.
    let other = stopped(Backend::Sqlite).await;
    fs::copy(key_file(&other), &new_key).unwrap();
    let new = kids_in(&new_key).remove(0);
    join_files(&[&old_key, &new_key], &file);
    record(&database, &new, false).await;
    assert_eq!(reseal(&database, &[]).json()["sealing_key"], new.as_str());
    assert_eq!((kids_in(&file), kids_of_texts(&database).await), (vec![new.clone()], one(&new)));

    // The canary and some rows were rewritten.
    join_files(&[&old_key, &new_key], &file);
    database.execute(&format!("UPDATE mac_keys SET sealed = '{texts}' WHERE name = 'refresh_token'")).await;
    record(&database, &new, false).await;
    assert_eq!(kids_of_texts(&database).await, [old.clone(), new.clone()].into());
    let done = reseal(&database, &[]).json();
    assert_eq!((done["sealing_key"].as_str(), done["resealed"].as_u64()), (Some(&*new), Some(1)), "{done}");
    assert_eq!((kids_in(&file), kids_of_texts(&database).await), (vec![new.clone()], one(&new)));

    // Everything was rewritten, and the old key is still in the file, or it is not.
    for kids in [vec![old.clone(), new.clone()], vec![new.clone()]] {
        let files = if kids.len() == 2 { vec![&*old_key, &*new_key] } else { vec![&*new_key] };
        join_files(&files, &file);
        record(&database, &new, false).await;
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

/// Records a new sealing key, as a run does that is then killed.
async fn record(database: &TestDatabase, kid: &str, replaces: bool) {
    let replaces = u8::from(replaces);
    database.execute(&format!("UPDATE sealing_canary SET successor_kid = '{kid}', successor_replaces = {replaces}")).await;
}

async fn a_key_that_is_recorded_and_in_no_file_is_replaced_by_another(backend: Backend) {
    let database = stopped(backend).await;
    let signing = database.texts("SELECT kid FROM signing_keys WHERE revoked_at IS NULL").await;
    record(&database, "never-written", false).await;
    let done = reseal(&database, &[]).json();
    let new = done["sealing_key"].as_str().unwrap();
    assert_ne!(new, "never-written");
    assert_eq!((kids_in(key_file(&database)), kids_of_texts(&database).await), (vec![new.to_owned()], one(new)));
    assert_eq!(database.texts("SELECT kid FROM signing_keys WHERE revoked_at IS NULL").await, signing);
}

async fn a_run_that_replaces_all_keys_is_continued_as_such(backend: Backend) {
    let database = stopped(backend).await;
    let signing = database.texts("SELECT kid FROM signing_keys WHERE revoked_at IS NULL").await;
    let macs = database.texts("SELECT sealed FROM mac_keys").await;
    // Its key was not written, so that another is made.
    record(&database, "never-written", true).await;
    let done = reseal(&database, &[]).json();
    assert_eq!(done["signing_keys_withdrawn"], serde_json::json!(signing), "{done}");
    assert_eq!(done["mac_keys_replaced"].as_array().unwrap().len(), macs.len(), "{done}");
    let now = database.texts("SELECT kid FROM signing_keys WHERE revoked_at IS NULL").await;
    assert!(now.len() == 1 && now != signing, "{now:?}");
}

async fn a_key_of_the_file_that_is_not_recorded_is_never_sealed_with(backend: Backend) {
    let database = stopped(backend).await;
    let (file, first) = (key_file(&database), database.folder().join("first.key"));
    let retired = database.keys_dir().join("sealing.key.retired");
    fs::copy(&file, &first).unwrap();
    let second = reseal(&database, &[]).json()["sealing_key"].as_str().unwrap().to_owned();
    // An operator puts the retired key back, for an older backup.
    let current = database.folder().join("current.key");
    fs::copy(&file, &current).unwrap();
    join_files(&[&current, &first], &file);
    let third = reseal(&database, &[]).json()["sealing_key"].as_str().unwrap().to_owned();
    let before: BTreeSet<String> = [kids_in(&first).remove(0), second].into();
    assert!(!before.contains(&third), "{third}");
    assert_eq!((kids_in(&file), kids_of_texts(&database).await), (vec![third.clone()], one(&third)));
    assert_eq!(kids_in(&retired).into_iter().collect::<BTreeSet<_>>(), before);
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
