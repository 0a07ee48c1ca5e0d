//! A gRPC server and a client, both with tonic: the server requires tokens, and the client attaches them.
//!
//! ```sh
//! ISSUER=http://localhost:8080 ORDERS_AUDIENCE=https://orders.example GRPC_ORIGIN=http://127.0.0.1:50051 \
//!     CLIENT_ID=billing CLIENT_SECRET_FILE=billing.secret cargo run --example grpc
//! ```
//!
//! The service is tonic's health service, so that the example needs no protobuf compiler. The client needs the grant `client_credentials`, and the
//! scope `orders:read` at the API.

use std::{env, error::Error, net::SocketAddr};

use sealwright::{
    client::{Credentials, Secret},
    verifier::{Verifier, scopes},
};
use tonic::transport::{Channel, Server, server::TcpIncoming};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::Layer;

scopes! {
    OrdersRead = "orders:read";
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let setting = |name: &str| env::var(name).map_err(|_| format!("set {name}"));
    let (issuer, audience, origin) = (setting("ISSUER")?, setting("ORDERS_AUDIENCE")?, setting("GRPC_ORIGIN")?);

    // The server: every call requires a valid token with the scope. Refusals are gRPC answers.
    let verifier = Verifier::for_issuer(&issuer).audience(&audience).build()?;
    let (_reporter, health) = tonic_health::server::health_reporter();
    let address: SocketAddr = origin.trim_start_matches("http://").parse()?;
    let server = Server::builder().layer(verifier.layer().require::<OrdersRead>().grpc()).add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::bind(address)?));

    // The client: the layer attaches the token to calls to this origin, and to no others. `with_origin` tells it the origin of a call.
    let client = Credentials::client(setting("CLIENT_ID")?, Secret::file(setting("CLIENT_SECRET_FILE")?))
        .issuer(issuer)
        .resource(audience)
        .attach_to([&origin])
        .build()?;
    let channel = Channel::from_shared(origin.clone())?.connect_lazy();
    let mut api = HealthClient::with_origin(client.layer().layer(channel), origin.parse()?);
    let answer = api.check(HealthCheckRequest::default()).await?;
    println!("the service answers: {:?}", answer.into_inner().status());
    Ok(())
}
