//! Users sign in once, and stay signed in until they sign out.

use axum::http::StatusCode;
use sealwright::{
    client::{Credentials, Error, Party, Secret, TokenSource, Tokens, Users},
    protocol::GrantType,
    server::commands::{ClientChange, LoginsOf, UserChange},
};

use super::{World, text};
use crate::support::{Backend, Behaviour, PASSWORD, at_orders, claims_of, on_sqlite, wait_until};

on_sqlite![
    a_user_signs_in_and_the_application_acts_for_them,
    hd5_an_application_sends_the_address_of_its_user,
    a_wrong_password_is_for_the_user_to_correct,
    racing_requests_of_one_session_use_a_refresh_token_once,
    a_lost_answer_is_repaired_by_repeating,
    an_unused_login_is_not_renewed,
    renewed_tokens_that_were_not_stored_serve_the_next_request,
    an_old_handle_and_new_tokens_share_a_login,
    an_api_that_refuses_every_token_causes_no_flood_of_refreshes,
    a_user_who_signs_out_during_a_renewal_stays_signed_out,
    an_app_whose_refresh_is_refused_signs_in_again_with_the_password,
    a_login_that_has_ended_is_reported,
    signing_out_ends_the_login_at_the_issuer,
    an_app_with_the_password_signs_in_again_when_its_login_has_ended,
    an_app_that_holds_the_password_repairs_a_lost_answer_by_itself,
];

const API: &str = "http://127.0.0.1:1";

impl World {
    fn users(&self) -> Users {
        self.shop().attach_to([API]).users().unwrap()
    }

    fn alice(&self) -> TokenSource {
        let credentials = Credentials::password("shop", Secret::value(&self.shop.secret), "alice", Secret::value(PASSWORD));
        self.complete(credentials).token_source().unwrap()
    }

    async fn signed_in(&self, users: &Users) -> Tokens {
        users.sign_in("alice", Secret::value(PASSWORD)).await.unwrap()
    }
}

async fn hd5_an_application_sends_the_address_of_its_user(backend: Backend) {
    let world = World::begin(backend).await;
    let users = world.users();
    for (address, sent) in [("198.51.100.7", "user_address=198.51.100.7"), ("2001:db8::1", "user_address=2001%3Adb8%3A%3A1")] {
        users.sign_in_from(address.parse().unwrap(), "alice", Secret::value(PASSWORD)).await.unwrap();
        assert!(world.relay.forms().last().unwrap().split('&').any(|parameter| parameter == sent), "{:?}", world.relay.forms());
    }
    world.signed_in(&users).await;
    assert!(!world.relay.forms().last().unwrap().contains("user_address"));
}

async fn a_user_signs_in_and_the_application_acts_for_them(backend: Backend) {
    let world = World::begin(backend).await;
    let users = world.users();
    let tokens = world.signed_in(&users).await;
    assert!(tokens.has_scope("orders:read") && tokens.has_scope("orders:write") && !tokens.has_scope("orders"));
    assert_eq!(world.relay.forms().len(), 1);

    // As read from a session store.
    let tokens: Tokens = serde_json::from_str(&serde_json::to_string(&tokens).unwrap()).unwrap();
    let alice = users.resume(&tokens);
    let token = text(&alice.token_source()).await;
    assert_ne!(claims_of(&token)["sub"], "shop", "it acts for alice");
    assert_eq!((alice.tokens(), world.relay.token_requests()), (Some(tokens.clone()), 1), "nothing has changed, and nothing was requested");

    // When the token is due, a caller waits for its renewal, and gets the tokens to store.
    world.pass(575).await;
    let renewed = text(&alice.token_source()).await;
    assert_ne!(renewed, token);
    let newer = alice.tokens().unwrap();
    assert!(newer != tokens && world.relay.token_requests() == 2);
    assert_eq!(text(&users.resume(&newer).token_source()).await, renewed);

    // A withdrawn permission is missing from the next token.
    let allow = at_orders("orders:read");
    world.app.database.update_user("alice", UserChange { allow, ..UserChange::default() });
    world.pass(575).await;
    let later = users.resume(&newer);
    assert_eq!(later.renewed().await.unwrap().scope(), "orders:read");
}

async fn a_wrong_password_is_for_the_user_to_correct(backend: Backend) {
    let world = World::begin(backend).await;
    let users = world.users();
    for (name, password) in [("alice", "not what she typed before"), ("unknown", PASSWORD)] {
        let error = users.sign_in(name, Secret::value(password)).await.unwrap_err();
        assert!(matches!(error, Error::WrongPassword), "{error}");
        assert_eq!(error.party(), Party::User);
    }
    // At once: the failure of one user does not delay the next.
    world.signed_in(&users).await;
}

async fn racing_requests_of_one_session_use_a_refresh_token_once(backend: Backend) {
    let world = World::begin(backend).await;
    let users = world.users();
    let tokens = world.signed_in(&users).await;
    world.pass(590).await;
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..50 {
        // Each request of the session begins with the stored tokens.
        let alice = users.resume(&tokens);
        requests.spawn(async move {
            let token = text(&alice.token_source()).await;
            (token, alice.tokens().unwrap())
        });
    }
    let after = requests.join_all().await;
    assert!(after.iter().all(|one| *one == after[0]) && after[0].1 != tokens);
    assert_eq!(world.relay.token_requests(), 2, "one sign-in, one refresh");

    // A node that does not know of the renewal repeats it, and gets the same successor.
    let elsewhere = world.users().resume(&tokens);
    text(&elsewhere.token_source()).await;
    world.pass(575).await;
    text(&users.resume(&after[0].1).token_source()).await;
}

async fn a_lost_answer_is_repaired_by_repeating(backend: Backend) {
    let world = World::begin(backend).await;
    let users = world.users();
    let alice = users.resume(&world.signed_in(&users).await);
    let source = alice.token_source();
    world.relay.token(Behaviour::LosesAnswers);
    world.pass(575).await;
    let error = source.token().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    world.relay.token(Behaviour::Normal);
    world.pass(error.retry_after().unwrap().as_secs()).await;
    text(&source).await;
    let forms = world.relay.forms();
    assert_eq!((forms.len(), &forms[1]), (3, &forms[2]), "the same refresh token again");
    // The login continues.
    world.pass(575).await;
    text(&users.resume(&alice.tokens().unwrap()).token_source()).await;
}

async fn an_unused_login_is_not_renewed(backend: Backend) {
    let world = World::begin(backend).await;
    let users = world.users();
    let alice = users.resume(&world.signed_in(&users).await);
    text(&alice.token_source()).await;
    for _ in 0..20 {
        world.pass(100).await;
    }
    assert_eq!(world.relay.token_requests(), 1, "what is stored stays what was used last");
}

async fn renewed_tokens_that_were_not_stored_serve_the_next_request(backend: Backend) {
    let world = World::begin(backend).await;
    let users = world.users();
    let tokens = world.signed_in(&users).await;
    world.pass(575).await;
    // The request ends before its tokens are stored, for example because the browser disconnects or the API fails.
    let renewed = text(&users.resume(&tokens).token_source()).await;
    assert_eq!(text(&users.resume(&tokens).token_source()).await, renewed);
    world.pass(40).await;
    assert_eq!(text(&users.resume(&tokens).token_source()).await, renewed, "a refresh token that is used up is not used again");
    assert_eq!(world.relay.token_requests(), 2);
}

async fn an_old_handle_and_new_tokens_share_a_login(backend: Backend) {
    let world = World::begin(backend).await;
    let users = world.users();
    let tokens = world.signed_in(&users).await;
    let kept = users.resume(&tokens);
    world.pass(575).await;
    let newer = kept.renewed().await.unwrap();
    world.pass(575).await;
    let again = users.resume(&newer);
    let (one, other) = tokio::join!(kept.renewed(), again.renewed());
    assert_eq!((one.unwrap(), world.relay.token_requests()), (other.unwrap(), 3));
}

async fn an_api_that_refuses_every_token_causes_no_flood_of_refreshes(backend: Backend) {
    let world = World::begin(backend).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let app = axum::Router::new().fallback(async || StatusCode::UNAUTHORIZED);
    tokio::spawn(async move { axum::serve(listener, app).await });
    let users = world.shop().attach_to([&origin]).users().unwrap();
    let mut tokens = world.signed_in(&users).await;
    for _ in 0..20 {
        let alice = users.resume(&tokens);
        assert_eq!(alice.get(&origin).send().await.unwrap().status(), 401);
        tokens = alice.tokens().unwrap();
    }
    assert_eq!(world.relay.token_requests(), 2);
}

async fn a_user_who_signs_out_during_a_renewal_stays_signed_out(backend: Backend) {
    let world = World::begin(backend).await;
    let users = world.users();
    let tokens = world.signed_in(&users).await;
    world.pass(575).await;
    let alice = users.resume(&tokens);
    world.relay.token(Behaviour::Slow);
    let renewing = tokio::spawn({
        let alice = alice.clone();
        async move { alice.renewed().await }
    });
    world.asked(2).await;
    alice.sign_out().await.unwrap();
    world.relay.release();
    assert!(matches!(renewing.await.unwrap(), Err(Error::LoginEnded)));
    assert!(alice.tokens().is_none() && alice.status().expires_in.is_none());
    assert!(matches!(users.resume(&tokens).renewed().await, Err(Error::LoginEnded)));
}

async fn an_app_whose_refresh_is_refused_signs_in_again_with_the_password(backend: Backend) {
    let world = World::begin(backend).await;
    let alice = world.alice();
    text(&alice).await;
    let remove_grants = [GrantType::RefreshToken].into();
    world.app.database.update_client("shop", ClientChange { remove_grants, ..ClientChange::default() });
    world.pass(480).await;
    wait_until(|| world.relay.token_requests() == 3).await;
    world.quiet(&alice).await;
    assert!(alice.status().last_error.is_none(), "{:?}", alice.status());
}

async fn a_login_that_has_ended_is_reported(backend: Backend) {
    let world = World::begin(backend).await;
    let users = world.users();
    let tokens = world.signed_in(&users).await;
    world.app.database.end_logins(LoginsOf::User("alice".parse().unwrap()));
    world.app.settle().await;
    assert!(users.resume(&tokens).token_source().token().await.is_ok(), "the access token is good until it expires");
    world.pass(575).await;
    let alice = users.resume(&tokens).token_source();
    for _ in 0..3 {
        let error = alice.token().await.unwrap_err();
        assert!(matches!(error, Error::LoginEnded), "{error}");
        assert_eq!(error.party(), Party::User);
    }
    assert_eq!(world.relay.token_requests(), 2, "it is asked once");

    // The same after a week without use.
    let tokens = world.signed_in(&users).await;
    world.pass(7 * 86_400 + 1).await;
    let error = users.resume(&tokens).token_source().token().await.unwrap_err();
    assert!(matches!(error, Error::LoginEnded), "{error}");
}

async fn signing_out_ends_the_login_at_the_issuer(backend: Backend) {
    let world = World::begin(backend).await;
    let users = world.users();
    let tokens = world.signed_in(&users).await;
    let alice = users.resume(&tokens);
    alice.sign_out().await.unwrap();
    assert_eq!(alice.status().expires_in, None, "it is forgotten here");
    assert!(matches!(alice.token_source().token().await, Err(Error::LoginEnded)));
    world.pass(575).await;
    assert!(matches!(users.resume(&tokens).token_source().token().await, Err(Error::LoginEnded)));

    let tokens = world.signed_in(&users).await;
    world.relay.goes_down();
    world.pass(3700).await;
    let error = users.resume(&tokens).sign_out().await;
    assert!(error.is_ok() || error.is_err_and(|error| error.party() == Party::Network), "only the metadata were out of reach");
}

async fn an_app_with_the_password_signs_in_again_when_its_login_has_ended(backend: Backend) {
    let world = World::begin(backend).await;
    let alice = world.alice();
    text(&alice).await;
    world.pass(480).await;
    world.asked(2).await;
    world.quiet(&alice).await;
    text(&alice).await;
    world.app.database.end_logins(LoginsOf::User("alice".parse().unwrap()));
    world.pass(480).await;
    wait_until(|| world.relay.token_requests() == 4).await;
    world.quiet(&alice).await;
    text(&alice).await;
    let grants: Vec<String> = world.relay.forms().iter().map(|form| form.split('&').next().unwrap().to_owned()).collect();
    let grant = |name: &str| format!("grant_type={name}");
    assert_eq!(grants, [grant("password"), grant("refresh_token"), grant("refresh_token"), grant("password")]);
}

async fn an_app_that_holds_the_password_repairs_a_lost_answer_by_itself(backend: Backend) {
    let world = World::begin(backend).await;
    let alice = world.alice();
    text(&alice).await;
    world.relay.token(Behaviour::LosesAnswers);
    world.pass(480).await;
    world.asked(2).await;
    world.quiet(&alice).await;
    world.relay.token(Behaviour::Normal);
    // Without a caller: the request must be repeated within the 30 s in which the issuer repeats its answer.
    world.pass(1).await;
    world.asked(3).await;
    world.quiet(&alice).await;
    assert!(alice.status().last_error.is_none());
    let forms = world.relay.forms();
    assert_eq!(forms[1], forms[2]);
}
