//! What cannot be undone is asked for on a terminal, and wants `--yes` elsewhere.

use serde_json::json;

use crate::support::{Backend, ORDERS, TestApp, command_on, on_sqlite, on_terminal};

on_sqlite![
    without_a_terminal_deleting_wants_yes_and_changes_nothing_without_it,
    on_a_terminal_deleting_is_confirmed_and_says_what_it_ends,
    on_a_terminal_a_name_that_does_not_exist_is_not_asked_about,
];

/// On a terminal of 80 columns, with this answer.
fn answered(app: &TestApp, arguments: &[&str], answer: &str) -> (Option<i32>, String) {
    let mut command = command_on(&app.database);
    command.args(arguments);
    on_terminal(command, 80, answer)
}

async fn without_a_terminal_deleting_wants_yes_and_changes_nothing_without_it(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    let secret = app.client("billing").secret[3..19].to_owned();
    app.run(&["client", "add-secret", "billing"]).succeeded();
    app.user("alice");
    app.run(&["resource", "create", "https://stock.example", "--scope", "stock:read"]).succeeded();
    let before = app.database.texts("SELECT action FROM changes ORDER BY n").await;
    let commands: [&[&str]; 6] = [
        &["client", "revoke-tokens", "billing"],
        &["user", "revoke-tokens", "alice"],
        &["client", "drop-secret", "billing", &secret],
        &["client", "delete", "billing"],
        &["user", "delete", "alice"],
        &["resource", "delete", "https://stock.example"],
    ];
    for command in commands {
        let refused = app.run(command);
        assert_eq!(refused.status.code(), Some(2), "as for another error of usage: {refused:?}");
        assert!(refused.stderr.contains("add --yes") && refused.stderr.contains("nothing was changed"), "{refused:?}");
    }
    assert_eq!(app.database.texts("SELECT action FROM changes ORDER BY n").await, before);
    for command in commands {
        app.run(&[command, &["--yes"]].concat()).succeeded();
    }
    assert_eq!(app.run_json(&["client", "list"]), json!([]));
}

async fn on_a_terminal_deleting_is_confirmed_and_says_what_it_ends(backend: Backend) {
    let (app, shop) = TestApp::for_users(backend).await;
    for _ in 0..3 {
        app.sign_in(&shop).await.granted();
    }
    app.sign_in(&shop).await.granted();
    // An expired login is not counted.
    app.database.execute("UPDATE logins SET idle_ends_at = 1 WHERE id = (SELECT MIN(id) FROM logins)").await;
    for answer in ["\n", "n\n", "no\n", "yess\n"] {
        let (code, shown) = answered(&app, &["client", "delete", "shop"], answer);
        assert_eq!(code, Some(1), "{shown}");
        assert!(shown.contains("Delete client \"shop\"? It ends 3 logins. [y/N]") && shown.contains("nothing was changed"), "{shown}");
    }
    app.run(&["client", "show", "shop"]).succeeded();
    let (code, shown) = answered(&app, &["client", "revoke-tokens", "shop"], "n\n");
    assert!(code == Some(1) && shown.contains("It has 3 logins of users, which go on."), "{shown}");
    let (code, shown) = answered(&app, &["user", "revoke-tokens", "alice"], "n\n");
    assert!(code == Some(1) && shown.contains("Revoke all access tokens of user \"alice\"? It ends 3 logins. [y/N]"), "{shown}");
    let id = &shop.secret[3..19];
    let (code, shown) = answered(&app, &["client", "drop-secret", "shop", id, "--last"], "y\n");
    assert!(code == Some(0) && shown.contains(&format!("Drop secret \"{id}\" of client \"shop\"?")), "{shown}");
    assert!(shown.contains("revoke them with --compromised.") && !shown.contains("warning"), "{shown}");
    let (code, shown) = answered(&app, &["client", "delete", "shop"], "y\n");
    assert!(code == Some(0) && shown.contains("deleted the client shop, and ended 3 logins"), "{shown}");
    assert!(app.database.texts("SELECT id FROM logins WHERE ended_at IS NULL").await.is_empty());
    let (code, shown) = answered(&app, &["user", "delete", "alice"], "YES\n");
    assert!(code == Some(0) && shown.contains("Delete user \"alice\"? It ends 0 logins. [y/N]"), "{shown}");
    let (code, shown) = answered(&app, &["resource", "delete", ORDERS], "y\n");
    assert!(code == Some(0) && shown.contains(&format!("Delete resource \"{ORDERS}\"? [y/N]")), "{shown}");
}

async fn on_a_terminal_a_name_that_does_not_exist_is_not_asked_about(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    app.client("billing");
    app.user("alice");
    for command in [
        &["client", "delete", "biling"][..],
        &["client", "drop-secret", "billing", "0123456789abcdef"],
        &["client", "revoke-tokens", "biling"],
        &["user", "revoke-tokens", "alise"],
        &["user", "delete", "alise"],
        &["resource", "delete", "https://order.example"],
    ] {
        let (code, shown) = answered(&app, command, "y\n");
        assert!(code == Some(1) && shown.contains("there is no") && !shown.contains("[y/N]"), "{shown}");
    }
}
