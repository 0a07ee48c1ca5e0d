//! An app that uses an MCP server, here `mcp_server`, with the client of the official crate `rmcp`. It knows the server's URL, its own id and its
//! secret; the client finds the issuer, gets a token by client credentials, and attaches it.
//!
//! ```sh
//! MCP_URL=http://127.0.0.1:9000/mcp CLIENT_ID=assistant CLIENT_SECRET=sw_... cargo run --example mcp_client
//! ```

use std::{env, error::Error};

use rmcp::{
    ServiceExt,
    model::{CallToolRequestParams, CallToolResult, object},
    transport::{
        StreamableHttpClientTransport,
        auth::{AuthClient, ClientCredentialsConfig, OAuthState},
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::json;

fn text(result: &CallToolResult) -> String {
    result.content.iter().filter_map(|part| part.as_text()).map(|part| part.text.as_str()).collect()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let setting = |name: &str| env::var(name).map_err(|_| format!("set {name}"));
    let url = setting("MCP_URL")?;

    let mut login = OAuthState::new(&url, None).await?;
    let credentials = ClientCredentialsConfig::ClientSecret {
        client_id: setting("CLIENT_ID")?,
        client_secret: setting("CLIENT_SECRET")?,
        scopes: Vec::new(),
        resource: Some(url.clone()),
    };
    login.authenticate_client_credentials(credentials).await?;
    let authorization = login.into_authorization_manager().ok_or("the client did not log in")?;
    let http = AuthClient::new(reqwest::Client::new(), authorization);

    let transport = StreamableHttpClientTransport::with_client(http, StreamableHttpClientTransportConfig::with_uri(url.as_str()));
    let client = ().serve(transport).await?;
    let placed = client.call_tool(CallToolRequestParams::new("place_order").with_arguments(object(json!({ "item": "tea" })))).await?;
    let listed = client.call_tool(CallToolRequestParams::new("list_orders")).await?;
    println!("{}", text(&placed));
    println!("{}", text(&listed));
    client.cancel().await?;
    Ok(())
}
