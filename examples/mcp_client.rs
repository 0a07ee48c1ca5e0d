//! An app that uses an MCP server, here `mcp_server`, with the client of the official crate `rmcp`. It knows the server's URL, the issuer, its own
//! id and its secret; the client finds the token endpoint, gets a token by client credentials, and attaches it.
//!
//! ```sh
//! MCP_URL=http://127.0.0.1:9000/mcp ISSUER=http://localhost:8080 CLIENT_ID=assistant CLIENT_SECRET=sw_... cargo run --example mcp_client
//! ```
//!
//! The client does not get another token when this one expires. A program that runs for longer calls `exchange_client_credentials` on
//! `AuthClient::auth_manager` again before that.

use std::{env, error::Error};

use rmcp::{
    ServiceExt,
    model::{CallToolRequestParams, CallToolResult, object},
    transport::{
        StreamableHttpClientTransport,
        auth::{AuthClient, AuthorizationManager, ClientCredentialsConfig},
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::json;

/// Gets a token from `issuer` and no other. The MCP server names an issuer, and a hostile one could name its own to get the secret.
async fn log_in(url: &str, issuer: &str, credentials: &ClientCredentialsConfig) -> Result<AuthorizationManager, Box<dyn Error>> {
    let mut manager = AuthorizationManager::new(url).await?;
    let metadata = manager.resolve_metadata().await?.metadata;
    let named = metadata.issuer.as_deref().unwrap_or_default();
    if named != issuer {
        return Err(format!("the MCP server names the issuer {named:?}, not {issuer:?}").into());
    }
    manager.set_metadata(metadata);
    manager.configure_client_credentials(credentials)?;
    manager.exchange_client_credentials(credentials).await?;
    Ok(manager)
}

fn text(result: &CallToolResult) -> String {
    result.content.iter().filter_map(|part| part.as_text()).map(|part| part.text.as_str()).collect()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let setting = |name: &str| env::var(name).map_err(|_| format!("set {name}"));
    let url = setting("MCP_URL")?;

    let credentials = ClientCredentialsConfig::ClientSecret {
        client_id: setting("CLIENT_ID")?,
        client_secret: setting("CLIENT_SECRET")?,
        scopes: Vec::new(),
        resource: Some(url.clone()),
    };
    let http = AuthClient::new(reqwest::Client::new(), log_in(&url, &setting("ISSUER")?, &credentials).await?);

    let transport = StreamableHttpClientTransport::with_client(http, StreamableHttpClientTransportConfig::with_uri(url.as_str()));
    let client = ().serve(transport).await?;
    let placed = client.call_tool(CallToolRequestParams::new("place_order").with_arguments(object(json!({ "item": "tea" })))).await?;
    let listed = client.call_tool(CallToolRequestParams::new("list_orders")).await?;
    println!("{}", text(&placed));
    println!("{}", text(&listed));
    client.cancel().await?;
    Ok(())
}
