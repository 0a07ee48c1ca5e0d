//! A small web application on which people sign in and order something from `orders_api`.
//!
//! ```sh
//! ISSUER=http://localhost:8080 CLIENT_ID=shop CLIENT_SECRET_FILE=shop.secret ORDERS_URL=http://127.0.0.1:9000/orders \
//!     cargo run --example web_login
//! ```
//!
//! It exchanges the password for tokens and keeps them in a session on its own side: in Redis if `REDIS_URL` names one, in memory
//! otherwise. The browser gets the session's id, in a cookie that no script can read. What the user may do, and so what the page
//! offers, is in the tokens' scope. `CLIENT_SECRET` may hold the secret itself, `LISTEN` is `127.0.0.1:3000` and `ORDERS_AUDIENCE`
//! is `https://orders.example` unless set. The client needs the grants `password` and `refresh_token`.
//!
//! `login.rs` is what to look at: signing in, going on, and signing out. Elsewhere than on this machine it stands behind a proxy with
//! TLS that hands on `Host` and `Origin` as they are, and appends the address of the visitor to `X-Forwarded-For`; `PROXY` is the
//! address from which that proxy connects.

mod failure;
mod login;
mod page;
mod visitor;

use std::{env, error::Error, net::SocketAddr, time::Duration};

use axum::{
    Form, Router,
    extract::{ConnectInfo, DefaultBodyLimit, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    middleware,
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use sealwright::client::{self, Credentials, Secret, reqwest::Url};
use serde::Deserialize;
use serde_json::json;
use tokio::{net::TcpListener, signal};
use tower_http::csrf::{CsrfLayer, ProtectionError};
use tower_sessions::{
    Expiry, MemoryStore, Session, SessionManagerLayer, SessionStore,
    cookie::{SameSite, time},
};
use tower_sessions_redis_store::{
    RedisStore,
    fred::prelude::{ClientLike, Config, ConnectionConfig, PerformanceConfig, Pool, ReconnectPolicy},
};

use crate::{
    failure::Failure,
    login::{Login, Logins},
    page::{Order, Orders},
    visitor::Visitors,
};

#[derive(Clone)]
struct Shop {
    logins: Logins,
    orders: Url,
    visitors: Visitors,
}

#[derive(Deserialize)]
struct SignIn {
    username: String,
    password: String,
}

#[derive(Deserialize)]
struct NewOrder {
    item: String,
}

async fn home(State(shop): State<Shop>, headers: HeaderMap, uri: Uri, session: Session) -> Result<Response, Failure> {
    if !shop.logins.is_signed_in(&session).await? {
        // A link on another site arrives without the cookie, because that is `Strict`. This page asks again, as a page of this site.
        let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
        if matches!(site, Some("cross-site" | "same-site")) && uri.query().is_none() {
            return Ok(([(header::REFRESH, "0; url=/?arrived")], page::go_on("/?arrived")).into_response());
        }
        return Ok(page::sign_in("", None).into_response());
    }
    let orders = shop.orders;
    shop.logins.continue_with(session, async move |user, login| Ok(page::orders(&look(&orders, &user, login).await?).into_response())).await
}

async fn sign_in(
    State(shop): State<Shop>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    session: Session,
    Form(typed): Form<SignIn>,
) -> Result<Response, Failure> {
    let from = shop.visitors.address(peer.ip(), &headers);
    match shop.logins.begin(session, from, typed.username.clone(), typed.password).await {
        Ok(()) => Ok(Redirect::to("/").into_response()),
        Err(Failure::Client(client::Error::WrongPassword)) => {
            let form = page::sign_in(&typed.username, Some("This name and this password do not belong together. Try again."));
            // Browsers show it like any page, and password managers see that the password was wrong. Why not 401: failure.rs.
            Ok((StatusCode::UNPROCESSABLE_ENTITY, form).into_response())
        }
        Err(failure) => Err(failure),
    }
}

async fn order(State(shop): State<Shop>, session: Session, Form(new): Form<NewOrder>) -> Result<Response, Failure> {
    let item = new.item.trim().to_owned();
    if item.is_empty() || item.chars().count() > page::ITEM_MAX {
        let sentence = page::sorry("Say what you want to order, in a hundred characters at most. Nothing was ordered.");
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, sentence).into_response());
    }
    let orders = shop.orders;
    let place = async move |user: client::Session, login| {
        // The API decides whether the user may order: the page may be older than the user's rights.
        let answer = user.post(orders.clone()).json(&json!({ "item": item })).send().await?;
        match answer.status() {
            status if status.is_success() => Ok(Redirect::to("/").into_response()),
            StatusCode::FORBIDDEN => {
                let notice = Some("You may not order any more: the right was withdrawn. Nothing was ordered.");
                let shown = Orders { notice, may_order: false, ..look(&orders, &user, login).await? };
                Ok((StatusCode::FORBIDDEN, page::orders(&shown)).into_response())
            }
            status => Err(Failure::Orders(status)),
        }
    };
    shop.logins.continue_with(session, place).await
}

/// What the user may see and do.
async fn look(orders: &Url, user: &client::Session, login: Login) -> Result<Orders, Failure> {
    let may_order = login.tokens.has_scope("orders:write");
    let mut shown = Orders { name: login.name, notice: None, list: None, may_order };
    if login.tokens.has_scope("orders:read") {
        let answer = user.get(orders.clone()).send().await?;
        match answer.status() {
            status if status.is_success() => shown.list = Some(answer.json::<Vec<Order>>().await.map_err(client::Error::from)?),
            StatusCode::FORBIDDEN => shown.notice = Some("You may not see orders any more: the right was withdrawn."),
            status => return Err(Failure::Orders(status)),
        }
    }
    Ok(shown)
}

async fn sign_out(State(shop): State<Shop>, session: Session) -> Result<Redirect, Failure> {
    shop.logins.end(session).await?;
    Ok(Redirect::to("/"))
}

/// What each answer says of itself.
async fn with_headers(mut response: Response) -> Response {
    // The session's own layer answers without a body when the store fails at the very end.
    if response.status() == StatusCode::INTERNAL_SERVER_ERROR && !response.headers().contains_key(header::CONTENT_TYPE) {
        response = (StatusCode::SERVICE_UNAVAILABLE, page::sorry("This shop cannot keep who is signed in right now.")).into_response();
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::CONTENT_SECURITY_POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Not `no-referrer`: with that, browsers send the forms of this very page with `Origin: null`.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    // Browsers let a `__Host-` cookie go only for one that is `Secure` as well. The session's layer leaves that out.
    if let Some(cookie) = headers.get_mut(header::SET_COOKIE).filter(|cookie| cookie.as_bytes().starts_with(b"__Host-Http-web-login=;")) {
        *cookie = HeaderValue::from_static("__Host-Http-web-login=; HttpOnly; SameSite=Strict; Secure; Path=/; Max-Age=0");
    }
    response
}

fn app(shop: Shop, store: impl SessionStore + Clone) -> Router {
    // `__Host-Http-` and `Secure`: no other host, no script, and nothing without TLS, can set it (RFC 10017 section 6.1). Browsers that do not know
    // this prefix know `__Host-`. Chromium and Firefox take http://127.0.0.1 for secure, so that it need not be weaker for trying it out, nor behind
    // a proxy on the same machine. `Strict`: no request that another site causes carries it.
    let sessions = SessionManagerLayer::new(store)
        .with_name("__Host-Http-web-login")
        .with_secure(true)
        .with_http_only(true)
        .with_same_site(SameSite::Strict)
        // Each renewal of the token makes it last longer. `with_always_save` would write old tokens over newer ones.
        .with_expiry(Expiry::OnInactivity(time::Duration::hours(8)));
    // A form that another site makes a browser send is refused before anything reads it. Browsers state the origin of a form by
    // `Sec-Fetch-Site`, or by `Origin` alone if they are old or were reached without TLS; a client that sends neither is not a browser.
    let forms = CsrfLayer::new().with_rejection_response(|_: ProtectionError| {
        let sentence = "This form was not sent from a page of this shop. Nothing was done.";
        (StatusCode::FORBIDDEN, page::sorry(sentence)).into_response()
    });
    let file = |content_type, text: &'static str| {
        get(async move || ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "max-age=3600")], text))
    };
    Router::new()
        .route("/", get(home))
        .route("/sign-in", post(sign_in))
        .route("/orders", post(order))
        .route("/sign-out", post(sign_out))
        .with_state(shop)
        .layer(sessions)
        .layer(forms)
        .layer(DefaultBodyLimit::max(16 * 1024))
        .route("/style.css", file("text/css", include_str!("style.css")))
        .route("/icon.svg", file("image/svg+xml", include_str!("icon.svg")))
        .layer(middleware::map_response(with_headers))
}

/// Sessions in Redis. Nothing is waited for: while it is out of reach each request fails soon, and goes on when it is back.
fn redis(url: &str) -> Result<RedisStore<Pool>, Box<dyn Error>> {
    // An invalid URL is not printed, because it may contain a password.
    let mut config = Config::from_url(url).map_err(|_| "REDIS_URL is not the URL of a Redis server")?;
    config.fail_fast = false;
    let performance = PerformanceConfig { default_command_timeout: Duration::from_millis(1500), ..PerformanceConfig::default() };
    let connection = ConnectionConfig { connection_timeout: Duration::from_secs(2), ..ConnectionConfig::default() };
    let again = ReconnectPolicy::new_exponential(0, 100, 1000, 2);
    let pool = Pool::new(config, Some(performance), Some(connection), Some(again), 2)?;
    pool.connect();
    Ok(RedisStore::new(pool))
}

async fn stop_signal() {
    let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate()).expect("signals can be waited for");
    tokio::select! {
        _ = signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let setting = |name: &str| env::var(name).map_err(|_| format!("set {name}"));
    let or = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let orders: Url = setting("ORDERS_URL")?.parse()?;
    // A file is read each time, so that a secret can be replaced while this runs.
    let secret = env::var_os("CLIENT_SECRET_FILE").map_or_else(|| Secret::env("CLIENT_SECRET"), Secret::file);
    let users = Credentials::client(setting("CLIENT_ID")?, secret)
        .issuer(setting("ISSUER")?)
        .resource(or("ORDERS_AUDIENCE", "https://orders.example"))
        .attach_to([orders.origin().ascii_serialization()])
        // A user waits for the page.
        .http(|http| http.timeout(Duration::from_secs(10)))
        .users()?;
    let proxy = env::var("PROXY").ok().map(|text| text.parse().map_err(|_| "PROXY is not an IP address")).transpose()?;
    let shop = Shop { logins: Logins::new(users), orders, visitors: Visitors { proxy } };
    let app = match env::var("REDIS_URL") {
        Ok(url) => app(shop.clone(), redis(&url)?),
        Err(_) => app(shop.clone(), MemoryStore::default()),
    };
    let listener = TcpListener::bind(or("LISTEN", "127.0.0.1:3000")).await?;
    println!("web login at http://{}", listener.local_addr()?);
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app).with_graceful_shutdown(stop_signal()).await?;
    shop.logins.finish().await;
    Ok(())
}
