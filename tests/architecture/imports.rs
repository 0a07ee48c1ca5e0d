//! Which room may use which.

use crate::source::{Finding, Named, Source, caught};

/// The modules that make one room; it is called after the first.
type Room = &'static [&'static str];

/// The rooms, storey by storey. A room uses itself and what lies on lower storeys, never what lies above it or beside it:
/// so there can be no circle between rooms.
const STOREYS: &[&[Room]] = &[
    &[&["main"]],
    &[&["cli"]],
    &[
        // Processes beside the server: no room of the server knows them.
        &["attach"],
        &["guard"],
        &["probe"],
        &["server", "server::config", "server::error", "server::management", "server::parts", "server::public", "server::tasks"],
    ],
    &[&["server::http"]],
    &[&["server::commands"]],
    &[&["server::issuer"]],
    &[&["server::registry"]],
    &[&["server::limits"], &["server::passwords"]],
    &[&["server::restore"]],
    &[&["server::logins"]],
    &[&["server::own_token"], &["server::revocation"]],
    &[&["server::keys"]],
    &[&["server::store"]],
    // What every process that listens has, and its connections: they know no rule of the server.
    &[&["server::process"]],
    &[&["server::edge"]],
    &[&["server::model"]],
    // Side by side: who embeds the verifier or the client has neither the server nor the other of the two. What every room
    // of the server may use lies here as well. `scopes!` is a macro of the verifier: macros that others may use stand at the root.
    &[
        &["client"],
        &["verifier", "scopes"],
        &[
            "server::act",
            "server::caller_text",
            "server::client_key",
            "server::custody",
            "server::document",
            "server::meters",
            "server::secret",
            "server::settings",
            "server::telemetry",
            "server::workers",
        ],
    ],
    // What the verifier and the client share, the one reader of JWTs, and the forwarder of requests, which knows no token.
    &[&["jwt"], &["kept"], &["outbound"], &["proxy"]],
    // Beside the reader, because the client has no reader.
    &[&["signing"]],
    &[&["protocol"]],
    &[&["clock"], &["entropy"]],
];

/// What is forbidden although it runs down.
const NEVER: &[(&str, &str)] = &[
    ("attach", "server::store"),
    ("cli", "server::store"),
    ("guard", "server::store"),
    ("probe", "server::store"),
    ("server::http", "server::store"),
];

struct Place {
    storey: usize,
    room: &'static str,
    /// The module by which the room was recognised.
    module: &'static str,
}

/// The files that stand in no room, so that no rule would hold for them.
pub(crate) fn no_room(source: &Source) -> Vec<Finding> {
    let module = module_of(&source.path);
    // What lies below `server` is in a room of its own; only what is named in `server` itself belongs to its root.
    let lost = place_of(&module).is_none_or(|place| place.module == "server" && module.len() > 1);
    let advice = "stands in no room: move it into one, or give it its place in STOREYS of tests/architecture/imports.rs";
    if lost && !is_front_page(source) { vec![source.finding(1, advice)] } else { Vec::new() }
}

/// The paths that lead up, aside, or where they never may.
pub(crate) fn upward(source: &Source) -> Vec<Finding> {
    let file = module_of(&source.path);
    let Some(from) = place_of(&file).filter(|_| !is_front_page(source)) else { return Vec::new() };
    let objection = |path: &Named| {
        let target = resolve(&file, path)?;
        let named = format!("crate::{}", target.join("::"));
        let Some(to) = place_of(&target) else {
            return Some(source.finding(path.line, format!("`{named}` is in no room: name the room that it comes from")));
        };
        let what = if from.room == to.room {
            return None;
        } else if NEVER.contains(&(from.room, to.room)) {
            "never uses"
        } else if to.storey < from.storey {
            "lies below"
        } else if to.storey == from.storey {
            "lies beside"
        } else {
            return None;
        };
        let advice = "move the code to where it may be used, or hand the value in";
        Some(source.finding(path.line, format!("`{named}`: {} {what} {}: {advice}", from.room, to.room)))
    };
    source.paths().iter().filter_map(objection).collect()
}

/// `lib.rs` mounts the rooms and shows what they give away; it has to see them all.
fn is_front_page(source: &Source) -> bool {
    source.path == "src/lib.rs"
}

pub(crate) fn module_of(path: &str) -> Vec<String> {
    let path = path.strip_prefix("src/").and_then(|path| path.strip_suffix(".rs")).unwrap();
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').map(str::to_owned).collect()
}

/// The room to which what `path` names belongs: that of the longest module that `path` begins with.
fn place_of(path: &[String]) -> Option<Place> {
    let all = STOREYS.iter().enumerate().flat_map(|(storey, rooms)| rooms.iter().map(move |room| (storey, room)));
    let modules = all.flat_map(|(storey, room)| room.iter().map(move |module| Place { storey, room: room[0], module }));
    modules.filter(|place| begins_with(path, place.module)).max_by_key(|place| place.module.len())
}

fn begins_with(path: &[String], module: &str) -> bool {
    let module: Vec<&str> = module.split("::").collect();
    path.len() >= module.len() && path.iter().zip(module).all(|(a, b)| a == b)
}

/// The path from the crate's root; `None` if it leads out of the crate, or to a name in scope, which was checked where it was
/// imported.
pub(crate) fn resolve(file: &[String], path: &Named) -> Option<Vec<String>> {
    let mut module = [file, &path.inside].concat();
    let mut segments = &path.segments[..];
    match segments[0].as_str() {
        "crate" => module.clear(),
        // As `main.rs` calls the library.
        "sealwright" if segments.len() > 1 => module.clear(),
        "super" => {}
        // `self` alone is a method's receiver.
        "self" if segments.len() > 1 => {}
        _ => return None,
    }
    while let [first, rest @ ..] = segments {
        match first.as_str() {
            "super" => drop(module.pop()),
            "crate" | "sealwright" | "self" => {}
            _ => break,
        }
        segments = rest;
    }
    module.extend(segments.iter().cloned());
    Some(module)
}

#[test]
fn no_module_stands_in_two_rooms() {
    let mut modules: Vec<&str> = STOREYS.iter().copied().flatten().copied().flatten().copied().collect();
    let count = modules.len();
    modules.sort_unstable();
    modules.dedup();
    assert_eq!(modules.len(), count);
}

#[test]
fn a_file_without_a_room_is_caught() {
    assert_eq!(caught(no_room, "src/attic.rs", ""), [1]);
    assert_eq!(caught(no_room, "src/server/attic/mod.rs", ""), [1]);
    for valid in ["src/lib.rs", "src/main.rs", "src/server/mod.rs", "src/server/config/mod.rs", "src/verifier/check.rs", "src/clock.rs"] {
        assert_eq!(caught(no_room, valid, ""), [], "{valid}");
    }
}

#[test]
fn an_import_that_runs_up_is_caught_in_every_form() {
    let keys = "src/server/keys/ring.rs";
    for text in [
        "use crate::server::http::App;",
        "use crate::server::{store, http};",
        "use crate::{clock, server::{store::{self}, http::{App as A}}};",
        "use super::super::http;",
        "use super::super::*;",
        "use super::super as above;",
        "use self::super::super::http;",
        "mod tests { use super::super::super::http; }",
        "fn f(app: &crate::server::http::App) {}",
        "fn f() { let e = Vec::<crate::server::http::App>::new(); }",
        "macro_rules! m { () => { $crate::server::http::App::new() } }",
        "fn f() { assert!(crate::server::http::ready()) }",
        "#[cfg(test)] mod tests { use crate::server::registry; }",
        "use crate::server::Server;",
        "use crate::cli;",
        "use crate::Server;",
    ] {
        assert_eq!(caught(upward, keys, text), [1], "{text}");
    }
    assert_eq!(caught(upward, keys, "use crate::{\n    clock,\n    server::{\n        store,\n        http,\n    },\n};"), [5]);
}

#[test]
fn an_import_that_runs_down_or_stays_in_its_room_is_left_alone() {
    let text = "use crate::{clock::Clock, entropy, server::{store, model::*, secret::Redacted, workers}};
        use super::{sealing, super::meters};
        use std::fmt;
        pub(in crate::server) fn f() { self::g(); }
        mod tests { use super::*; use super::super::Policy; }";
    assert_eq!(caught(upward, "src/server/keys/ring.rs", text), []);
    assert_eq!(caught(upward, "src/server/config/mod.rs", "use super::{issuer, keys, store, telemetry};"), []);
    assert_eq!(caught(upward, "src/server/issuer/inspect.rs", "use crate::verifier;"), []);
    assert_eq!(caught(upward, "src/guard/rules/issuer.rs", "use crate::{server::edge::Peer, verifier::Builder};"), []);
    assert_eq!(caught(upward, "src/main.rs", "fn main() { sealwright::cli::run() }"), []);
    assert_eq!(caught(upward, "src/lib.rs", "pub use crate::server::Server;"), []);
}

#[test]
fn what_no_room_may_use_is_caught_beside_and_below() {
    for (path, text) in [
        ("src/server/http/oauth/token.rs", "use crate::server::store::Error;"),
        ("src/cli/client/mod.rs", "use crate::server::{commands, store::Store};"),
        ("src/cli/check.rs", "fn f(store: &crate::server::store::Store) {}"),
        ("src/server/issuer/mod.rs", "use crate::server::commands;"),
        ("src/verifier/check.rs", "use crate::server::secret;"),
        ("src/verifier/check.rs", "use crate::client::Error;"),
        ("src/client/mod.rs", "use crate::server::model;"),
        ("src/client/mod.rs", "use crate::verifier::Error;"),
        ("src/server/secret.rs", "use super::model;"),
        ("src/server/telemetry.rs", "use crate::server::config;"),
        ("src/server/model/client.rs", "use crate::server::store;"),
        ("src/protocol/jwk.rs", "use crate::server::keys;"),
        ("src/jwt/signed.rs", "use crate::verifier::Claims;"),
        ("src/jwt/key_set.rs", "use crate::outbound;"),
        ("src/proxy/forwarder.rs", "use crate::server::edge::Peer;"),
        ("src/clock.rs", "use crate::entropy;"),
        ("src/server/mod.rs", "use crate::cli;"),
        ("src/server/mod.rs", "use crate::guard::Rules;"),
        ("src/guard/mod.rs", "use crate::server::Server;"),
        ("src/guard/mod.rs", "use crate::server::store::Store;"),
        ("src/attach/mod.rs", "use crate::server::store::Store;"),
        ("src/attach/mod.rs", "use crate::guard::Guard;"),
        ("src/probe/run.rs", "use crate::guard::Guard;"),
        ("src/server/mod.rs", "use crate::probe::Report;"),
    ] {
        assert_eq!(caught(upward, path, text), [1], "{path}: {text}");
    }
}
