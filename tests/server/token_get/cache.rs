//! The files of the cache: who may read them, and what happens to those that are not as they should be.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink},
    path::Path,
    time::Duration,
};

use super::{World, run, token_of};
use crate::support::{Backend, Finished, claims_of, on_sqlite};

on_sqlite![
    hd9_only_the_user_can_read_the_cache,
    hd9_without_a_runtime_directory_the_cache_is_in_a_private_folder_of_the_temporary_one,
    hd9_a_folder_that_others_can_use_is_not_used_and_stops_no_script,
    hd9_a_cached_token_that_others_could_read_or_that_is_a_link_is_replaced,
    a_corrupt_file_is_replaced,
    old_tokens_are_deleted,
];

const OTHER_USER: u32 = 65534;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Requires that a folder of the cache is private, and all that is in it.
#[track_caller]
fn is_private(folder: &Path) {
    assert_eq!(mode(folder), 0o700);
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "a token, a lock, and nothing half-written: {files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

async fn hd9_only_the_user_can_read_the_cache(backend: Backend) {
    let world = World::begin(backend).await;
    world.token(&[]);
    is_private(&world.folder());
    world.age(481);
    world.token(&[]);
    is_private(&world.folder());
    let stored = world.stored();
    let name = stored.file_name().unwrap().to_str().unwrap();
    assert!(!name.contains("shop") && !name.contains("sw_"), "{name}");
    assert!(!fs::read_to_string(stored).unwrap().contains(&world.shop.secret), "the client's secret is not stored");
}

async fn hd9_without_a_runtime_directory_the_cache_is_in_a_private_folder_of_the_temporary_one(backend: Backend) {
    let world = World::begin(backend).await;
    let temporary = tempfile::tempdir().unwrap();
    // As `/tmp`.
    set_mode(temporary.path(), 0o1777);
    let folder = temporary.path().join(format!("sealwright-{}", fs::metadata(temporary.path()).unwrap().uid()));
    let get = |runtime: Option<&Path>| {
        let mut command = world.command(&[]);
        match runtime {
            Some(runtime) => command.env("XDG_RUNTIME_DIR", runtime),
            None => command.env_remove("XDG_RUNTIME_DIR"),
        };
        command.env("TMPDIR", temporary.path());
        token_of(run(command))
    };
    let token = get(None);
    is_private(&folder);
    let others = tempfile::tempdir().unwrap();
    let is_root = chown(others.path(), Some(OTHER_USER), None).is_ok();
    for invalid in [Path::new("relative"), Path::new("/no/such/folder"), Path::new("")].into_iter().chain(is_root.then_some(others.path()))
    {
        assert_eq!(get(Some(invalid)), token, "{}", invalid.display());
    }
    assert_eq!(fs::read_dir(others.path()).unwrap().count(), 0);
    assert_eq!(world.relay.token_requests(), 1);
}

/// Requires a token of the issuer, with one warning.
#[track_caller]
fn warned(finished: Finished, words: &[&str]) -> String {
    let Finished { stdout, stderr, .. } = finished.succeeded();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    for word in ["warning: "].iter().chain(words) {
        assert!(stderr.contains(word), "{word:?} is not in {stderr}");
    }
    assert_eq!(claims_of(stdout.trim_end())["sub"], "shop");
    stdout
}

async fn hd9_a_folder_that_others_can_use_is_not_used_and_stops_no_script(backend: Backend) {
    let world = World::begin(backend).await;
    let (folder, elsewhere) = (world.folder(), world.runtime.path().join("elsewhere"));
    fs::create_dir(&elsewhere).unwrap();
    set_mode(&elsewhere, 0o700);
    symlink(&elsewhere, &folder).unwrap();
    let shown = folder.to_str().unwrap();
    let first = warned(world.get(&[]), &["the token is not cached", shown, "is a symbolic link", "remove it"]);
    assert_ne!(warned(world.get(&[]), &[]), first);
    fs::remove_file(&folder).unwrap();

    fs::write(&folder, "").unwrap();
    warned(world.get(&[]), &["the token is not cached", shown]);
    fs::remove_file(&folder).unwrap();

    fs::create_dir(&folder).unwrap();
    for mode in [0o755, 0o770, 0o777, 0o1777, 0o701] {
        set_mode(&folder, mode);
        warned(world.get(&[]), &["the token is not cached", shown, "can be read or written by others", &format!("{:o}", mode & 0o777)]);
    }
    set_mode(&folder, 0o700);
    // Only root can change the owner of a file.
    if chown(&folder, Some(OTHER_USER), None).is_ok() {
        warned(world.get(&[]), &["the token is not cached", shown, "belongs to the user 65534"]);
        chown(&folder, Some(0), None).unwrap();
    }
    set_mode(world.runtime.path(), 0o777);
    warned(world.get(&[]), &["the token is not cached", shown, "everyone may write to", "chmod o-w"]);
    set_mode(world.runtime.path(), 0o700);
    for folder in [&folder, &elsewhere] {
        assert_eq!(fs::read_dir(folder).unwrap().count(), 0, "nothing was written");
    }
    world.token(&[]);
    is_private(&folder);
}

async fn hd9_a_cached_token_that_others_could_read_or_that_is_a_link_is_replaced(backend: Backend) {
    let world = World::begin(backend).await;
    let mut token = world.token(&[]);
    let stored = world.stored();
    let shown = stored.to_str().unwrap();
    for exposed in [0o644, 0o640, 0o602] {
        set_mode(&stored, exposed);
        let warned = warned(world.get(&[]), &["the cached token is not used", shown, "can be read or written by others"]);
        assert_ne!(warned.trim_end(), token);
        token = world.token(&[]);
        assert_eq!(warned.trim_end(), token);
        is_private(&world.folder());
    }
    let elsewhere = world.runtime.path().join("elsewhere");
    fs::rename(&stored, &elsewhere).unwrap();
    let before = fs::read(&elsewhere).unwrap();
    symlink(&elsewhere, &stored).unwrap();
    let link = warned(world.get(&[]), &["the cached token is not used", shown, "is a symbolic link"]);
    assert_ne!(link.trim_end(), token);
    assert_eq!(fs::read(&elsewhere).unwrap(), before, "the target is not written to");
    assert_eq!(world.token(&[]), link.trim_end());
    is_private(&world.folder());

    // Only root can change the owner of a file.
    if chown(&stored, Some(OTHER_USER), None).is_ok() {
        warned(world.get(&[]), &["the cached token is not used", shown, "belongs to the user 65534"]);
        is_private(&world.folder());
        assert_eq!(fs::metadata(&stored).unwrap().uid(), 0);
    }

    let locks = world.files(".lock");
    let [lock] = &locks[..] else { panic!("{locks:?}") };
    world.age(481);
    fs::remove_file(lock).unwrap();
    symlink(&elsewhere, lock).unwrap();
    drop(lchown(lock, Some(OTHER_USER), None));
    warned(world.get(&[]), &["the cache cannot be locked", "is a symbolic link"]);
    assert_eq!(fs::read(&elsewhere).unwrap(), before);
}

async fn a_corrupt_file_is_replaced(backend: Backend) {
    let world = World::begin(backend).await;
    let mut tokens = vec![world.token(&[])];
    let stored = world.stored();
    let good = fs::read_to_string(&stored).unwrap();
    let (half, token) = (&good[..good.len() / 2], &tokens[0]);
    let injected = good.replace(token.as_str(), "x\\r\\nX-Admin: 1");
    assert_ne!(injected, good);
    for corrupt in ["", half, "null", &injected, &good.replace("expires_at", "expires"), &" ".repeat(100_000), "\0\u{1}"] {
        fs::write(&stored, corrupt).unwrap();
        tokens.push(world.token(&[]));
        assert_eq!(world.token(&[]), *tokens.last().unwrap());
    }
    assert_eq!(world.relay.token_requests() as usize, tokens.len());
    is_private(&world.folder());
}

async fn old_tokens_are_deleted(backend: Backend) {
    let world = World::begin(backend).await;
    world.token(&[]);
    let week = Duration::from_secs(7 * 24 * 3600 + 60);
    let written = fs::metadata(world.stored()).unwrap().modified().unwrap();
    let old = [world.folder().join("old.json"), world.folder().join(".new-old"), world.folder().join("old.lock")];
    for file in &old {
        fs::File::create(file).unwrap().set_modified(written - week).unwrap();
    }
    let recent = world.folder().join("recent.json");
    fs::File::create(&recent).unwrap().set_modified(written - week + Duration::from_secs(3600)).unwrap();
    world.token(&["--scope", "orders:read"]);
    assert_eq!(old.map(|file| file.exists()), [false, false, true], "a lock may be held");
    assert!(recent.exists());
}
