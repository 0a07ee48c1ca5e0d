//! An MCP server (Model Context Protocol) that only trusted apps may use, with the official crate `rmcp`.
//!
//! ```sh
//! ORDERS_ISSUER=http://localhost:8080 ORDERS_ORIGIN=http://127.0.0.1:9000 ORDERS_LISTEN=127.0.0.1:9000 cargo run --example mcp_server
//! ```
//!
//! The server's URL is `ORDERS_ORIGIN` and `/mcp`. That URL is also its name at the issuer: MCP clients request a token for the URL that they call.
//! `docs/mcp.md` says how to register it, and which clients log in by themselves.

use std::{
    env,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    http::{Uri, request::Parts},
};
use rmcp::{
    handler::server::{common::Extension, wrapper::Parameters},
    schemars, tool, tool_router,
    transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager},
};
use sealwright::verifier::{self, Require, ResourceMetadata, Token, Verifier, scopes};
use serde::Deserialize;
use tokio::net::TcpListener;

scopes! {
    OrdersRead = "orders:read";
    OrdersWrite = "orders:write";
}

/// The path of the MCP endpoint.
const PATH: &str = "/mcp";

/// The user who ordered, and what was ordered.
#[derive(Debug, Clone, Default)]
struct Orders(Arc<Mutex<Vec<(String, String)>>>);

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct NewOrder {
    /// What to order.
    item: String,
}

/// The caller's token, which the layer has checked, if it has the scope that the tool needs.
fn caller<R: Require>(request: &Parts) -> Result<Token<R>, String> {
    Token::of(&request.extensions).map_err(|error| match error {
        verifier::Error::InsufficientScope(scope) => format!("the token does not have the scope {scope}"),
        error => error.to_string(),
    })
}

#[tool_router(server_handler)]
impl Orders {
    #[tool(description = "Lists the caller's orders.")]
    fn list_orders(&self, Extension(request): Extension<Parts>) -> Result<String, String> {
        let caller = caller::<OrdersRead>(&request)?;
        let orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own: Vec<&str> = orders.iter().filter(|(owner, _)| owner == caller.subject()).map(|(_, item)| item.as_str()).collect();
        Ok(format!("{} ordered: {}", caller.subject(), own.join(", ")))
    }

    #[tool(description = "Places an order for the caller.")]
    fn place_order(&self, Extension(request): Extension<Parts>, Parameters(new): Parameters<NewOrder>) -> Result<String, String> {
        let caller = caller::<OrdersWrite>(&request)?;
        let mut orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        orders.push((caller.subject().to_owned(), new.item));
        Ok(format!("order {}", orders.len()))
    }
}

fn app(verifier: &Verifier, origin: &str) -> Result<Router, Box<dyn Error>> {
    let host = origin.parse::<Uri>()?.authority().ok_or("ORDERS_ORIGIN has no host")?.to_string();
    let orders = Orders::default();
    // Without sessions, each request stands on its own token.
    let config = StreamableHttpServerConfig::default().with_legacy_session_mode(false).with_json_response(true).with_allowed_hosts([host]);
    let mcp = StreamableHttpService::new(move || Ok(orders.clone()), Arc::new(NeverSessionManager::default()), config);

    // No scopes: MCP clients would request exactly those that are listed. Without a list, they get all that they may have here.
    let metadata = ResourceMetadata::new(verifier, [""; 0]);
    let metadata_path = format!("{}{PATH}", ResourceMetadata::ROUTE);
    Ok(Router::new()
        .nest_service(PATH, mcp)
        .layer(verifier.layer().resource_metadata(&format!("{origin}{metadata_path}")))
        .route_service(&metadata_path, metadata))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let setting = |name: &str| env::var(name).map_err(|_| format!("set {name}"));
    let origin = setting("ORDERS_ORIGIN")?;
    let verifier = Verifier::for_issuer(setting("ORDERS_ISSUER")?).audience(format!("{origin}{PATH}")).build()?;
    let listener = TcpListener::bind(setting("ORDERS_LISTEN")?).await?;
    println!("MCP at {origin}{PATH}");
    Ok(axum::serve(listener, app(&verifier, &origin)?).await?)
}
