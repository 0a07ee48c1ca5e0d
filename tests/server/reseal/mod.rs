//! `sealwright key reseal`: the sealing key is replaced while servers run.

mod interrupted;
mod operators;
mod running;

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use crate::support::{Backend, Finished, TestApp, TestDatabase, header_of, sealwright, write_private};

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

/// An issuer without a server.
async fn stopped(backend: Backend) -> Arc<TestDatabase> {
    TestApp::start(backend).await.stop().await
}
