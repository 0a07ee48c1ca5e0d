//! `sealwright client`.

use serde_json::json;

use crate::support::{Backend, TestApp, on_both_databases};

on_both_databases![
    a_client_is_created_listed_shown_updated_and_deleted,
    a_secret_is_shown_once_and_kept_as_a_digest,
    a_client_is_allowed_only_scopes_that_exist,
    disabling_again_keeps_the_first_time_and_enabling_clears_it,
    ten_clients_created_at_once_all_exist,
    a_client_that_cannot_get_a_token_yet_causes_a_warning,
    the_last_secret_of_a_client_is_dropped_only_with_an_option,
    a_secret_that_cannot_be_printed_is_reported_as_lost,
];

const ALLOW: [&str; 2] = ["--allow", "https://orders.example=orders:read,orders:write"];

async fn a_client_is_created_listed_shown_updated_and_deleted(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let grants = ["--grant", "client_credentials", "--grant", "password", "--grant", "refresh_token"];
    let mut created = app.run_json(&[&["client", "create", "billing"], &grants[..], &ALLOW].concat());
    let secret = created.as_object_mut().unwrap().remove("secret").unwrap();
    assert_eq!(secret["expires_at"], json!(null));
    assert_eq!(secret["id"], created["secrets"][0]["id"]);
    assert_eq!(created["client_id"], "billing");
    assert_eq!(created["grant_types"], json!(["client_credentials", "password", "refresh_token"]));
    assert_eq!(created["allow"], json!({ "https://orders.example": ["orders:read", "orders:write"] }));
    assert_eq!(created["auth_methods"], json!(["client_secret_basic", "client_secret_post"]));

    assert_eq!(app.run_json(&["client", "show", "billing"]), created);
    assert_eq!(app.run_json(&["client", "list"]), json!([created]));
    assert!(!app.run(&["client", "show", "billing"]).succeeded().stdout.contains("introspects"), "it introspects no tokens");
    let table = app.run(&["client", "list"]).succeeded().stdout;
    assert!(table.starts_with(" CLIENT") && table.contains("billing") && table.contains("orders:read orders:write"), "{table}");
    app.run(&["client", "create", "billing"]).failed_saying(&["the client billing already exists; `sealwright client update` changes it"]);

    let updated = app.run_json(&[
        "client",
        "update",
        "billing",
        "--remove-grant",
        "password",
        "--remove-grant",
        "refresh_token",
        "--allow",
        "https://orders.example=orders:read",
        "--add-introspects",
        "https://orders.example",
        "--auth-method",
        "client_secret_post",
        "--token-lifetime",
        "2m",
    ]);
    assert_eq!(updated["grant_types"], json!(["client_credentials"]));
    assert_eq!(updated["allow"], json!({ "https://orders.example": ["orders:read"] }));
    assert_eq!(updated["introspects"], json!(["https://orders.example"]));
    assert_eq!(updated["auth_methods"], json!(["client_secret_post"]));
    assert_eq!(updated["token_lifetime"], 120);
    assert_eq!(app.run_json(&["client", "show", "billing"]), updated);
    app.run(&["client", "update", "billing", "--remove-grant", "password"]).failed_saying(&["does not have the grant password"]);
    app.run(&["client", "update", "billing", "--disallow", "https://other.example"])
        .failed_saying(&["no permission at https://other.example"]);
    assert_eq!(app.run(&["client", "update", "billing"]).status.code(), Some(2), "an update without a change");

    app.run(&["client", "delete", "billing", "--yes"]).succeeded();
    assert_eq!(app.run_json(&["client", "list"]), json!([]));
    for arguments in [
        &["client", "show", "billing"][..],
        &["client", "delete", "billing", "--yes"],
        &["client", "disable", "billing"],
        &["client", "enable", "billing"],
        &["client", "add-secret", "billing"],
        &["client", "update", "billing", "--add-grant", "password"],
    ] {
        app.run(arguments).failed_saying(&["there is no client billing"]);
    }
}

async fn a_secret_is_shown_once_and_kept_as_a_digest(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let created = app.run_json(&["client", "create", "billing", "--expires-in", "90days"]);
    let value = created["secret"]["value"].as_str().unwrap();
    assert!(value.starts_with("sw_") && value.len() == 68, "{value}");
    assert!(value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)), "{value}");
    let added = app.run(&["client", "add-secret", "billing"]).succeeded().stdout;
    let second = added.lines().find_map(|line| line.strip_prefix("secret  ")).unwrap();

    let shown =
        app.run(&["client", "show", "billing", "--json"]).succeeded().stdout + &app.run(&["client", "show", "billing"]).succeeded().stdout;
    for secret in [value, second] {
        assert!(!shown.contains(&secret[19..]), "{shown}");
        assert!(shown.contains(&secret[3..19]), "its id is shown: {shown}");
    }
    let stored = app.database.texts("SELECT digest FROM client_secrets").await;
    assert!(
        stored.iter().all(|digest| digest.len() == 43 && !value.contains(digest.as_str()) && !second.contains(digest.as_str())),
        "{stored:?}"
    );

    app.run(&["client", "drop-secret", "billing", &value[3..19], "--yes"]).succeeded();
    app.run(&["client", "drop-secret", "billing", &value[3..19], "--yes"]).failed_saying(&["there is no secret"]);
    assert_eq!(app.run_json(&["client", "show", "billing"])["secrets"].as_array().unwrap().len(), 1);
    assert_eq!(app.run(&["client", "add-secret", "billing", "--expires-in", "0s"]).status.code(), Some(2));
    assert_eq!(app.run(&["client", "add-secret", "billing", "--expires-in", "101years"]).status.code(), Some(2));
    app.run(&["client", "add-secret", "billing", "--expires-in", "100years"]).succeeded();
}

async fn a_client_is_allowed_only_scopes_that_exist(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let create = |allow: &str| app.run(&["client", "create", "billing", "--allow", allow]);
    create("https://orders.example=orders:delete").failed_saying(&["there is no scope orders:delete", "orders:read orders:write"]);
    create("https://other.example=orders:read").failed_saying(&["there is no resource https://other.example"]);
    app.run(&["client", "create", "billing", "--introspects", "https://other.example"])
        .failed_saying(&["there is no resource https://other.example"]);
    for invalid in ["https://orders.example", "https://orders.example=", "=orders:read", "https://orders.example=a,,b"] {
        assert_eq!(create(invalid).status.code(), Some(2), "{invalid}");
    }
    for id in ["", "Billing", "a b", "-a", "ä", &"a".repeat(65)] {
        assert_eq!(app.run(&["client", "create", "--", id]).status.code(), Some(2), "{id}");
    }
    assert_eq!(app.run_json(&["client", "list"]), json!([]), "nothing of them was kept");
}

async fn disabling_again_keeps_the_first_time_and_enabling_clears_it(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    app.client("billing");
    let first = app.run_json(&["client", "disable", "billing"]);
    assert!(first["disabled_at"].is_string());
    app.database.execute("UPDATE clients SET disabled_at = 1000000000").await;
    assert_eq!(app.run_json(&["client", "disable", "billing"])["disabled_at"], "2001-09-09T01:46:40Z");
    assert_eq!(app.run_json(&["client", "enable", "billing"])["disabled_at"], json!(null));
    assert_eq!(app.run_json(&["client", "enable", "billing"])["disabled_at"], json!(null));
}

async fn a_client_that_cannot_get_a_token_yet_causes_a_warning(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let said = |arguments: &[&str]| app.run(&[&["client", "create"], arguments].concat()).succeeded().stderr;
    let grant = ["--grant", "client_credentials"];
    let nothing = said(&["one"]);
    assert!(
        nothing.contains("warning: the client one cannot get a token yet")
            && nothing.contains("--add-grant")
            && nothing.contains("--allow")
    );
    let no_scope = said(&[&["two"], &grant[..]].concat());
    assert!(no_scope.contains("--allow RESOURCE=SCOPE") && !no_scope.contains("--add-grant"), "{no_scope}");
    assert!(nothing.contains("`sealwright client update one --add-grant GRANT --allow RESOURCE=SCOPE`"), "{nothing}");
    assert!(said(&[&["three"], &ALLOW[..]].concat()).contains("--add-grant"));
    assert_eq!(said(&[&["four"], &grant[..], &ALLOW].concat()), "");
}

async fn the_last_secret_of_a_client_is_dropped_only_with_an_option(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let first = app.client("billing").secret[3..19].to_owned();
    app.run(&["client", "drop-secret", "billing", &first, "--yes"]).failed_saying(&[
        "could not authenticate",
        "add-secret billing",
        "--last",
    ]);
    let added = app.run_json(&["client", "add-secret", "billing"]);
    let second = added["secret"]["id"].as_str().unwrap_or_else(|| panic!("{added}")).to_owned();
    app.run(&["client", "drop-secret", "billing", &first, "--yes"]).succeeded();
    // One that has expired does not count.
    app.database.execute(&format!("UPDATE client_secrets SET expires_at = 1 WHERE id = '{second}'")).await;
    let third = app.run_json(&["client", "add-secret", "billing"])["secret"]["id"].as_str().unwrap().to_owned();
    app.run(&["client", "drop-secret", "billing", &third, "--yes"]).failed_saying(&["could not authenticate"]);
    app.run(&["client", "drop-secret", "billing", &third, "--last", "--yes"]).succeeded();
    app.run(&["client", "drop-secret", "billing", &second, "--yes"]).succeeded();

    // Nor does a damaged one, and a damaged client is as protected.
    let added = || app.run_json(&["client", "add-secret", "billing"])["secret"]["id"].as_str().unwrap().to_owned();
    let (fourth, fifth) = (added(), added());
    app.database.execute(&format!("UPDATE client_secrets SET digest = 'damaged' WHERE id = '{fifth}'")).await;
    app.run(&["client", "drop-secret", "billing", &fourth, "--yes"]).failed_saying(&["could not authenticate"]);
    app.run(&["client", "drop-secret", "billing", &fifth, "--yes"]).succeeded();
    app.database.execute("UPDATE clients SET grants = 'no_such_grant'").await;
    app.run(&["client", "drop-secret", "billing", &fourth, "--yes"]).failed_saying(&["could not authenticate"]);
    app.run(&["client", "drop-secret", "billing", &fourth, "--last", "--yes"]).succeeded();
}

async fn ten_clients_created_at_once_all_exist(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    std::thread::scope(|scope| {
        for number in 0..10 {
            let app = &app;
            scope.spawn(move || app.client(&format!("app-{number}")));
        }
    });
    assert_eq!(app.run_json(&["client", "list"]).as_array().unwrap().len(), 10);
    let epoch = app.database.texts("SELECT CAST(n AS TEXT) FROM epochs WHERE kind = 'registry'").await;
    assert_eq!(epoch, ["12"], "one for the resource, one for each client");
}

async fn a_secret_that_cannot_be_printed_is_reported_as_lost(backend: Backend) {
    let app = TestApp::start(backend).await;
    let mut command = crate::support::command_on(&app.database);
    command.args(["client", "create", "billing"]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command.stdout(full).stderr(std::process::Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("client add-secret billing"), "{said}");
    app.run(&["client", "show", "billing"]).succeeded();
    app.run(&["client", "update", "billing", "--allow", "https://a.example=x", "--disallow", "https://a.example"]).failed_saying(&["both"]);
}
