//! Where the secrets come from, and that they do not come out.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use super::{World, run, token_of};
use crate::support::{AppKey, Backend, Behaviour, Finished, PASSWORD, claims_of, command_on, finish, on_sqlite, write_private};

on_sqlite![
    hd7_secrets_come_from_files_standard_input_and_variables,
    hd7_a_secret_that_others_can_see_is_refused_before_anything_is_sent,
    pk1_a_script_authenticates_by_a_private_key_in_a_file,
    hd7_no_secret_and_no_token_is_in_an_error,
    the_variables_of_secrets_are_not_taken_for_settings,
];

/// Runs it with this text on standard input.
fn with_input(mut command: Command, text: &str) -> Finished {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that refuses early does not read it.
    drop(child.stdin.take().unwrap().write_all(text.as_bytes()));
    tokio::task::block_in_place(|| child.wait_with_output()).unwrap().into()
}

async fn hd7_secrets_come_from_files_standard_input_and_variables(backend: Backend) {
    let world = World::begin(backend).await;
    let secret = &world.shop.secret;
    let (file, password) = (world.runtime.path().join("secret"), world.runtime.path().join("password"));
    write_private(&file, &format!("{secret}\n"));
    write_private(&password, &format!("{PASSWORD}\r\n"));
    let (file, password) = (file.to_str().unwrap(), password.to_str().unwrap());

    let token = world.token(&[]);
    assert_eq!(token_of(run(world.without_secret(&["--secret-file", file]))), token);
    for text in [format!("{secret}\n"), format!("{secret}\r\nanother line\n"), secret.clone()] {
        assert_eq!(token_of(with_input(world.without_secret(&["--secret-file", "-"]), &text)), token);
    }
    // A file wins over a variable.
    let mut command = world.without_secret(&["--secret-file", file]);
    command.env("SEALWRIGHT_CLIENT_SECRET", "wrong");
    assert_eq!(token_of(run(command)), token);

    let user = world.token(&["--username", "alice"]);
    assert_ne!(claims_of(&user)["sub"], "shop");
    let of_user = |from: &str| {
        let mut command = world.command(&["--username", "alice", "--password-file", from]);
        command.env_remove("SEALWRIGHT_USER_PASSWORD");
        command
    };
    assert_eq!(token_of(run(of_user(password))), user);
    assert_eq!(token_of(with_input(of_user("-"), PASSWORD)), user);
    assert_eq!(world.relay.token_requests(), 2);

    run(world.without_secret(&[])).failed_saying(&["the client's secret is missing", "--secret-file", "SEALWRIGHT_CLIENT_SECRET"]);
    let mut empty = world.without_secret(&[]);
    empty.env("SEALWRIGHT_CLIENT_SECRET", "");
    run(empty).failed_saying(&["the client's secret is missing"]);
    let mut command = world.command(&["--username", "alice"]);
    command.env_remove("SEALWRIGHT_USER_PASSWORD");
    run(command).failed_saying(&["the user's password is missing", "--password-file", "SEALWRIGHT_USER_PASSWORD"]);
    let both = world.command(&["--username", "alice", "--secret-file", "-", "--password-file", "-"]);
    with_input(both, secret).failed_saying(&["cannot both be standard input"]);
    assert_eq!(world.get(&["--password-file", password]).status.code(), Some(2), "whose password?");
    for input in ["", "\n", &"s".repeat(5000), &format!("\n{secret}")] {
        with_input(world.without_secret(&["--secret-file", "-"]), input).failed_saying(&["the client's secret cannot be read"]);
    }
    run(world.without_secret(&["--secret-file", "none"])).failed_saying(&["the client's secret cannot be read", "none"]);
}

async fn hd7_a_secret_that_others_can_see_is_refused_before_anything_is_sent(backend: Backend) {
    let world = World::begin(backend).await;
    let secret = world.shop.secret.as_str();
    for option in ["--client", "--secret-file", "--key-file", "--resource", "--scope", "--username", "--password-file", "--issuer"] {
        let mut command = world.bare();
        for (name, value) in [("--client", "shop"), ("--username", "alice"), ("--issuer", world.relay.url.as_str())] {
            if name != option {
                command.args([name, value]);
            }
        }
        command.args([option, secret]);
        let named = format!("the value of {option} contains a secret");
        let refused = run(command).failed_saying(&[&named, "nothing was sent", "replace the secret"]);
        assert!(!refused.stderr.contains("sw_"), "{refused:?}");
    }
    let joined = format!("--secret={secret}");
    for arguments in [&["--client-secret", secret][..], &[joined.as_str()], &[secret], &["--secret-file", "x", secret, "--json"]] {
        let mut command = world.bare();
        command.args(["--client", "shop"]).args(arguments);
        let refused = run(command);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(!refused.stderr.contains("sw_") && refused.stderr.contains("error: "), "{refused:?}");
    }
    let file = world.runtime.path().join("secret");
    write_private(&file, secret);
    for mode in [0o644, 0o604, 0o666] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let words = [file.to_str().unwrap(), "can be read or written by others", "chmod 600"];
        run(world.without_secret(&["--secret-file", file.to_str().unwrap()])).failed_saying(&words);
        run(world.command(&["--username", "alice", "--password-file", file.to_str().unwrap()])).failed_saying(&words);
    }
    assert_eq!(world.relay.token_requests() + world.relay.metadata_requests(), 0);
    assert!(!world.folder().exists());
}

/// What a command prints when it fails, in every way in which it can.
async fn hd7_no_secret_and_no_token_is_in_an_error(backend: Backend) {
    let world = World::begin(backend).await;
    let token = world.token(&["--username", "alice"]);
    let stored = fs::read_to_string(world.stored()).unwrap();
    let refresh = serde_json::from_str::<serde_json::Value>(&stored).unwrap()["token"]["refresh_token"].as_str().unwrap().to_owned();
    let (secret, wrong) = (&world.shop.secret, "x9-wrong-credential-7f3a");
    let mut printed = String::new();
    for variable in ["SEALWRIGHT_CLIENT_SECRET", "SEALWRIGHT_USER_PASSWORD"] {
        let mut command = world.command(&["--username", "alice"]);
        command.env(variable, wrong);
        printed += &run(command).failed_saying(&["no token"]).stderr;
    }
    printed += &world.get(&["--username", "alice", "--scope", "orders:cancel"]).failed_saying(&["no token"]).stderr;
    world.relay.goes_down();
    printed += &world.get(&[]).failed_saying(&["no token"]).stderr;
    world.age(481);
    printed += &world.get(&["--username", "alice"]).succeeded().stderr;
    world.relay.comes_back();
    // An issuer that repeats what it was sent.
    let encoded = PASSWORD.replace(' ', "+");
    let echoes: [(&str, &str); 5] = [(PASSWORD, PASSWORD), (PASSWORD, secret), (PASSWORD, &encoded), (PASSWORD, &refresh), (wrong, wrong)];
    for (password, sent) in echoes {
        world.end_pauses();
        let body = serde_json::json!({"error": "invalid_request", "error_description": format!("received {sent} here")}).to_string();
        world.relay.token(Behaviour::Answers(400, vec![("content-type", "application/json".into())], body.into()));
        let mut command = world.command(&["--username", "alice"]);
        command.env("SEALWRIGHT_USER_PASSWORD", password);
        let finished = run(command);
        assert!(finished.stderr.contains("(invalid_request: received [secret] here)"), "{finished:?}");
        printed += &finished.stderr;
    }
    world.relay.comes_back();
    world.end_pauses();
    // A folder in the place of the file: it can neither be read nor written.
    fs::remove_file(world.stored()).unwrap();
    let mut put = world.command(&["--username", "alice"]);
    put.env("RUST_LOG", "trace").env("SEALWRIGHT_LOG", "trace");
    printed += &run(put).succeeded().stderr;
    let place = world.stored();
    fs::remove_file(&place).unwrap();
    fs::create_dir(&place).unwrap();
    printed += &world.get(&["--username", "alice"]).failed_saying(&["the cache cannot be used"]).stderr;
    assert!(printed.contains("the cached token is not used"), "{printed}");
    for hidden in [secret.as_str(), PASSWORD, &encoded, wrong, &token, &refresh] {
        let parts = (0..hidden.len() - 12).filter_map(|at| hidden.get(at..at + 12));
        let shown: Vec<_> = parts.filter(|part| printed.contains(part)).collect();
        assert!(shown.is_empty(), "{shown:?} in {printed}");
    }
}

async fn the_variables_of_secrets_are_not_taken_for_settings(backend: Backend) {
    let world = World::begin(backend).await;
    let list = |variable: &str| {
        let mut command = command_on(&world.app.database);
        command.args(["client", "list"]).env("SEALWRIGHT_CLIENT_SECRET", "x").env(variable, "y");
        finish(command)
    };
    list("SEALWRIGHT_USER_PASSWORD").succeeded();
    list("SEALWRIGHT_USER_PASSWROD").failed_saying(&["unknown setting user_passwrod"]);
}

async fn pk1_a_script_authenticates_by_a_private_key_in_a_file(backend: Backend) {
    let world = World::begin(backend).await;
    let (key, other) = (AppKey::new("ES256"), AppKey::new("ES256"));
    world.app.database.add_key("shop", key.public(), None);
    world.app.settle().await;
    let file = |name: &str, key: &AppKey| {
        let path = world.runtime.path().join(name);
        write_private(&path, &key.private_pem());
        path.to_str().unwrap().to_owned()
    };
    let (right, wrong) = (file("right.pem", &key), file("wrong.pem", &other));
    let token = token_of(run(world.without_secret(&["--key-file", &right])));
    assert_eq!(claims_of(&token)["sub"], "shop");
    assert_eq!(token_of(run(world.without_secret(&["--key-file", &right]))), token, "it is in the cache");
    assert_eq!(world.relay.token_requests(), 1);
    let failed = run(world.without_secret(&["--key-file", &wrong]));
    failed.failed_saying(&["does not accept this client with this key", "the public half of this key"]);
    let public = world.runtime.path().join("public.pem");
    write_private(&public, &key.public_pem());
    let failed = run(world.without_secret(&["--key-file", public.to_str().unwrap()]));
    failed.failed_saying(&["the private key of --key-file cannot be used (it contains no private key in PEM)"]);
    let failed = run(world.without_secret(&["--key-file", "none.pem"]));
    failed.failed_saying(&["the client's private key cannot be read", "none.pem"]);
    fs::set_permissions(&right, fs::Permissions::from_mode(0o644)).unwrap();
    run(world.without_secret(&["--key-file", &right])).failed_saying(&["the private key", "can be read or written by others", "chmod"]);
    let both = world.without_secret(&["--key-file", &right, "--secret-file", &wrong]);
    assert_eq!(run(both).status.code(), Some(2));
}
