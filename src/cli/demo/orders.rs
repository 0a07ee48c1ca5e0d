//! The API of the demo: orders, behind the layer of the verifier. It has a listener of its own, as it would have a server of its own.

use std::{
    future, io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;

use crate::{
    cli::error::Error,
    server::{
        edge::{ConnectionLimits, Drain, Listener, MemoryBudget, Socket, Stopping},
        meters::ConnectionMeters,
        process::{Hosts, known_method},
    },
    verifier::{BuildError, Token, Verifier, scopes},
};

/// The port, unless another program has it. In the guides, 9000 is that of the reader's own API.
const PORT: u16 = 9080;
/// How many orders it keeps, and how long their texts may be.
const MOST_ORDERS: usize = 1000;
const LONGEST_ITEM: usize = 200;

const MEMORY: usize = 1024 * 1024;

scopes! {
    /// May see the orders.
    OrdersRead = "orders:read";
    /// May order.
    OrdersWrite = "orders:write";
}

#[derive(Debug, Clone, Serialize)]
struct Order {
    id: usize,
    item: String,
}

#[derive(Debug, Deserialize)]
struct NewOrder {
    item: String,
}

#[derive(Debug, Clone)]
struct Orders(Arc<Mutex<Vec<Order>>>);

/// The API, which has its port. It answers nothing before it serves.
#[derive(Debug)]
pub(super) struct OrdersApi {
    socket: TcpListener,
    addr: SocketAddr,
}

impl OrdersApi {
    /// Takes its port at the address of `issuer`, or a free one if another program has it. It listens at once: two demos that start together
    /// may both bind a port, and only one of them can listen on it.
    pub(super) async fn open(issuer: SocketAddr) -> Result<Self, Error> {
        let ip = issuer.ip();
        let opened = match TcpListener::bind((ip, preferred_port(issuer))).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => TcpListener::bind((ip, 0)).await,
            opened => opened,
        };
        let opened = opened.and_then(|socket| Ok(Self { addr: socket.local_addr()?, socket }));
        opened.map_err(Error::DemoApi)
    }

    /// The URL of its orders.
    pub(super) fn url(&self) -> String {
        format!("http://{}/orders", self.addr)
    }

    /// Serves callers with tokens of `issuer` for `audience`, until what it returns is dropped.
    pub(super) fn serve(self, issuer: &str, audience: &str) -> Result<impl Future<Output = ()> + Send + use<>, Error> {
        let hosts = Hosts::new(self.addr.ip(), Vec::new(), "Use the address that the demo printed.");
        let router = hosts.guard(router(issuer, audience)?);
        let listener = Listener {
            socket: Socket::Tcp(self.socket),
            tls: None,
            limits: ConnectionLimits::FEW_CALLERS,
            proxies: Arc::default(),
            meters: ConnectionMeters::default(),
            budget: MemoryBudget::new(MEMORY, Default::default()),
        };
        let at_once = Drain { delay: Duration::ZERO, linger: Duration::ZERO, limit: Duration::ZERO };
        Ok(listener.serve(router, future::pending(), Stopping::default(), at_once))
    }
}

/// `PORT`, or 0 for a free one if the issuer, which binds its port later, was given that one.
const fn preferred_port(issuer: SocketAddr) -> u16 {
    if issuer.port() == PORT { 0 } else { PORT }
}

fn router(issuer: &str, audience: &str) -> Result<Router, BuildError> {
    let verifier = Verifier::for_issuer(issuer).audience(audience).build()?;
    let orders = Orders(Arc::new(Mutex::new(vec![Order { id: 1, item: "a desk".to_owned() }])));
    Ok(Router::new().route("/orders", get(list).post(order)).with_state(orders).layer(verifier.layer()).layer(middleware::from_fn(explain)))
}

async fn list(State(orders): State<Orders>, _: Token<OrdersRead>) -> Response {
    let orders = orders.0.lock().unwrap_or_else(PoisonError::into_inner);
    answer(StatusCode::OK, &*orders)
}

async fn order(State(orders): State<Orders>, _: Token<OrdersWrite>, body: Bytes) -> Response {
    let new = serde_json::from_slice::<NewOrder>(&body).ok().filter(|NewOrder { item }| item.chars().count() <= LONGEST_ITEM);
    let Some(NewOrder { item }) = new else {
        return hint(StatusCode::BAD_REQUEST, "send JSON with a short item, such as {\"item\":\"tea\"}", None);
    };
    let mut orders = orders.0.lock().unwrap_or_else(PoisonError::into_inner);
    let order = Order { id: orders.last().map_or(0, |last| last.id) + 1, item };
    if orders.len() == MOST_ORDERS {
        orders.remove(0);
    }
    orders.push(order.clone());
    answer(StatusCode::CREATED, &order)
}

/// Adds what the status means to a refusal by the layer or the router, and writes a line to the log of the demo.
async fn explain(request: Request, next: Next) -> Response {
    let method = known_method(request.method());
    // What a caller sends as a path may be a secret.
    let path = if request.uri().path() == "/orders" { "/orders" } else { "another path" };
    let response = next.run(request).await;
    let status = response.status();
    tracing::info!(http.status = status.as_u16(), "the API: {method} {path}");
    // A person who uses curl does not see the headers, so the body repeats this one.
    let challenge = response.headers().get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let meaning = match status {
        StatusCode::BAD_REQUEST if challenge.is_some() => "send the token once: Authorization: Bearer ...",
        StatusCode::UNAUTHORIZED if challenge.as_deref() == Some("Bearer") => {
            "this API needs a token of its issuer: Authorization: Bearer ..."
        }
        StatusCode::UNAUTHORIZED => "this API does not accept the token, for the reason that www-authenticate states",
        StatusCode::FORBIDDEN => "the token is valid, and it lacks the scope that www-authenticate names",
        StatusCode::SERVICE_UNAVAILABLE => "the issuer's keys are not available; the token may be valid, so try again",
        StatusCode::NOT_FOUND => "this API has /orders",
        StatusCode::METHOD_NOT_ALLOWED => "use GET or POST",
        StatusCode::PAYLOAD_TOO_LARGE => "the request is too large",
        _ => return response,
    };
    let (mut explained, plain) = (hint(status, meaning, challenge.as_deref()), response.into_parts().0);
    for (name, value) in &plain.headers {
        if name != header::CONTENT_LENGTH && name != header::CONTENT_TYPE {
            explained.headers_mut().append(name.clone(), value.clone());
        }
    }
    explained
}

fn hint(status: StatusCode, meaning: &str, challenge: Option<&str>) -> Response {
    let mut body = json!({ "status": status.as_u16(), "hint": meaning });
    if let Some(challenge) = challenge {
        body["www-authenticate"] = challenge.into();
    }
    answer(status, &body)
}

fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    let text = json!(body).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_leaves_the_issuer_the_port_that_it_was_given() {
        let beside = |issuer: &str| preferred_port(issuer.parse().unwrap());
        assert_eq!((beside("127.0.0.1:8080"), beside("127.0.0.1:9080"), beside("[::1]:9080")), (PORT, 0, 0));
    }
}
