//! Clients and their secrets as people read them.

use crate::{
    cli::{
        allowance::lines,
        claim,
        error::Error,
        output::{Output, Screen, facts, lifetime_for_people, or_dash, or_never, table},
    },
    server::commands::view::{ClientView, EntityView, KeyOfClientView, NewSecretView, SecretView},
};

const SHOWN_ONCE: &str = "The secret is shown only once; store it where the app reads its secrets.";

/// A client, with its new secret if it has just been created.
pub(super) fn client(view: &ClientView) -> String {
    let mut rows = vec![
        ("client", view.client_id.clone()),
        ("state", view.disabled_at.as_ref().map_or_else(|| "enabled".to_owned(), |at| format!("disabled since {at}"))),
        ("grants", or_dash(view.grant_types.join(" "))),
        ("allowed", or_dash(lines(&view.allow))),
        ("authentication", view.auth_methods.join(" or ")),
        ("token lifetime", lifetime_for_people(view.token_lifetime)),
        ("created", view.created_at.clone()),
        ("last used", or_never(view.last_used_at.clone())),
    ];
    if !view.introspects.is_empty() {
        rows.push(("introspects", view.introspects.join("\n")));
    }
    if !view.fixed_claims.is_empty() {
        rows.push(("fixed claims", claim::lines(&view.fixed_claims)));
    }
    let mut text = facts(rows);
    if let Some(secret) = &view.secret {
        text += &format!("\n\nsecret  {}\n{SHOWN_ONCE}", secret.value);
    }
    text
}

/// A client with tables of its secrets and its keys.
pub(super) fn client_with_credentials(view: &ClientView) -> Screen {
    let state = |live: bool| if live { "active" } else { "expired" }.to_owned();
    let secret = |secret: &SecretView| {
        let expires = or_never(secret.expires_at.clone());
        [secret.id.clone(), state(secret.live), secret.created_at.clone(), expires, or_never(secret.last_used_at.clone())]
    };
    let key = |key: &KeyOfClientView| {
        let (expires, last_used) = (or_never(key.expires_at.clone()), or_never(key.last_used_at.clone()));
        [key.kid.clone(), key.algorithm.clone(), state(key.live), key.created_at.clone(), expires, last_used]
    };
    let mut screen = Screen::from(client(view));
    if !view.secrets.is_empty() {
        let secrets = table(["SECRET", "STATE", "CREATED", "EXPIRES", "LAST USED"], view.secrets.iter().map(secret));
        screen = screen.above(String::new()).above(secrets);
    }
    if !view.keys.is_empty() {
        let keys = table(["KEY", "ALG", "STATE", "CREATED", "EXPIRES", "LAST USED"], view.keys.iter().map(key));
        screen = screen.above(String::new()).above(keys);
    }
    screen
}

pub(super) fn print_list(output: Output, views: &[EntityView<ClientView>]) -> Result<(), Error> {
    output.print_list(views, ["CLIENT", "STATE", "GRANTS", "ALLOWED", "LAST USED", "SECRETS", "KEYS"], |view| {
        let state = if view.disabled_at.is_some() { "disabled" } else { "enabled" };
        let secrets = view.secrets.iter().filter(|secret| secret.live).count();
        let keys = view.keys.iter().filter(|key| key.live).count();
        let grants = or_dash(view.grant_types.join(" "));
        [
            view.client_id.clone(),
            state.to_owned(),
            grants,
            or_dash(lines(&view.allow)),
            or_never(view.last_used_at.clone()),
            secrets.to_string(),
            keys.to_string(),
        ]
    })
}

pub(super) fn new_secret(view: &NewSecretView) -> String {
    let rows =
        [("client", view.client_id.clone()), ("secret id", view.secret.id.clone()), ("expires", or_never(view.secret.expires_at.clone()))];
    format!("{}\n\nsecret  {}\n{SHOWN_ONCE}", facts(rows), view.secret.value)
}
