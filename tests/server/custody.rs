//! Files that hold secrets: their permissions, their owners, and their folders.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
};

use crate::support::{Backend, Finished, Process, TestApp, TestDatabase, command, command_on, finish, sealwright, write_private};

fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn serve(database: &TestDatabase, arguments: &[&str]) -> Finished {
    sealwright(database, &[&["serve", "--listen", "127.0.0.1:0"], arguments].concat())
}

/// An issuer whose server was killed, so that SQLite's log still exists.
async fn killed() -> TestDatabase {
    let database = TestDatabase::create(Backend::Sqlite).await;
    let mut server = Process::serve(&database);
    server.addr().await;
    server.signal("KILL");
    server.wait();
    database
}

#[tokio::test(flavor = "multi_thread")]
async fn hd9_a_file_with_secrets_that_others_can_read_is_refused_by_every_command() {
    let database = killed().await;
    for name in ["sealwright.db", "sealwright.db-wal", "sealwright.db-shm", "keys/sealing.key"] {
        let path = database.folder().join(name);
        for mode in [0o644, 0o604, 0o602, 0o666] {
            set_mode(&path, mode);
            let words = [path.to_str().unwrap(), "can be read or written by others", &format!("{mode:o}"), "chmod 600", "on the host"];
            serve(&database, &[]).failed_saying(&words);
            if !name.starts_with("keys") {
                sealwright(&database, &["client", "list"]).failed_saying(&words);
            }
            let check = sealwright(&database, &["check"]);
            assert!(!check.status.success() && check.stdout.contains(&format!("{mode:o}")), "{check:?}");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "it is not changed");
        }
        set_mode(&path, 0o600);
    }
    // Read access of the group is the operator's decision. Write access is removed: Kubernetes grants it to the group of `fsGroup` for
    // every file of a volume, at each mount.
    for mode in [0o640, 0o660] {
        let files = ["sealwright.db", "keys/sealing.key"].map(|name| database.folder().join(name));
        files.iter().for_each(|file| set_mode(file, mode));
        sealwright(&database, &["check"]).succeeded();
        files.iter().for_each(|file| assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o640));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hd9_a_file_of_another_user_and_a_link_of_another_user_are_refused() {
    const OTHER_USER: u32 = 65534;
    let database = killed().await;
    let key = database.keys_dir().join("sealing.key");
    if chown(&key, Some(OTHER_USER), None).is_err() {
        // Only root can change the owner of a file.
        return;
    }
    serve(&database, &[]).failed_saying(&[key.to_str().unwrap(), "belongs to the user 65534", "chown"]);
    chown(&key, Some(0), None).unwrap();
    let file = database.folder().join("sealwright.db");
    chown(&file, Some(OTHER_USER), None).unwrap();
    sealwright(&database, &["client", "list"]).failed_saying(&["database file", "belongs to the user 65534"]);
    chown(&file, Some(0), None).unwrap();

    let elsewhere = database.folder().join("elsewhere.key");
    fs::rename(&key, &elsewhere).unwrap();
    symlink(&elsewhere, &key).unwrap();
    sealwright(&database, &["check"]).succeeded();
    std::os::unix::fs::lchown(&key, Some(OTHER_USER), None).unwrap();
    serve(&database, &[]).failed_saying(&["symbolic link", "belongs to the user 65534"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hd9_a_link_is_followed_to_a_file_that_obeys_the_rule() {
    // As Kubernetes mounts a secret: a link to a file in a folder that everyone may write to and that has the sticky bit.
    let database = killed().await;
    let (key, volume) = (database.keys_dir().join("sealing.key"), database.folder().join("volume"));
    fs::create_dir(&volume).unwrap();
    set_mode(&volume, 0o1777);
    fs::rename(&key, volume.join("sealing.key")).unwrap();
    symlink(volume.join("sealing.key"), &key).unwrap();
    sealwright(&database, &["check"]).succeeded();
    set_mode(volume.join("sealing.key"), 0o440);
    sealwright(&database, &["check"]).succeeded();
    set_mode(volume.join("sealing.key"), 0o644);
    serve(&database, &[]).failed_saying(&["644", "defaultMode: 0400"]);
    set_mode(volume.join("sealing.key"), 0o600);
    set_mode(&volume, 0o777);
    serve(&database, &[]).failed_saying(&[volume.to_str().unwrap(), "everyone may write to", "chmod o-w"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hd9_a_folder_that_everyone_may_write_to_is_refused_before_a_file_is_created_in_it() {
    let database = TestDatabase::create(Backend::Sqlite).await;
    set_mode(database.folder(), 0o777);
    serve(&database, &[]).failed_saying(&["everyone may write to", "777", "chmod o-w"]);
    assert_eq!(fs::read_dir(database.folder()).unwrap().count(), 0, "nothing was made");
    set_mode(database.folder(), 0o700);

    let database = killed().await;
    set_mode(database.keys_dir(), 0o777);
    serve(&database, &[]).failed_saying(&["the sealing key", "everyone may write to", "777"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hd9_a_configuration_file_with_a_secret_may_be_readable_by_its_owner_and_group_only() {
    let database = TestApp::start(Backend::Sqlite).await.stop().await;
    let key = fs::read_to_string(database.keys_dir().join("sealing.key")).unwrap();
    let file = database.folder().join("sealwright.toml");
    let check = || {
        let mut command = command(database.folder());
        finish({
            command.arg("check");
            command
        })
    };
    for (secret, name) in [
        (format!("sealing_key = '{}'", key.trim()), "sealing_key"),
        ("database_url = 'postgres://sw:hunter2@127.0.0.1:1/d'".to_owned(), "database_url"),
        ("database_url = 'postgres://127.0.0.1:1/d?password=hunter2'".to_owned(), "database_url"),
    ] {
        write_private(&file, &secret);
        set_mode(&file, 0o644);
        let refused = check();
        assert!(!refused.status.success() && !format!("{refused:?}").contains("hunter2"), "{refused:?}");
        for word in [file.to_str().unwrap(), name, "644", "chmod 600"] {
            assert!(refused.stdout.contains(word), "{word} is not in {refused:?}");
        }
        set_mode(&file, 0o640);
        assert!(!check().stdout.contains("can be read"));
    }
    // Without a secret, everyone may read it.
    write_private(&file, "token_lifetime = '5m'");
    set_mode(&file, 0o644);
    check().succeeded();
}

#[tokio::test(flavor = "multi_thread")]
async fn hd9_a_tls_key_that_others_can_read_is_refused_before_a_file_is_created() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let database = TestDatabase::create(Backend::Sqlite).await;
    let files = tempfile::TempDir::new().unwrap();
    let (cert, place) = (files.path().join("tls.pem"), files.path().join("tls.key"));
    fs::write(&cert, certificate.pem()).unwrap();
    write_private(&place, &key.serialize_pem());
    set_mode(&place, 0o644);
    let tls = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", place.to_str().unwrap()];
    serve(&database, &tls).failed_saying(&["the TLS key", place.to_str().unwrap(), "644", "chmod 600"]);
    assert_eq!(fs::read_dir(database.folder()).unwrap().count(), 0, "nothing was made");
    // root:ssl-cert 0640, or a key that belongs to the user of an ACME client.
    set_mode(&place, 0o640);
    drop(chown(&place, Some(65534), None));
    let mut command = command_on(&database);
    command.args(["serve", "--listen", "127.0.0.1:0"]).args(tls);
    Process::spawn(command).addr().await;
}
