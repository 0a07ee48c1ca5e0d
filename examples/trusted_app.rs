//! A billing job: a trusted app that calls an API, here `orders_api`. The client gets the tokens and attaches them.
//!
//! ```sh
//! ISSUER=http://localhost:8080 CLIENT_ID=billing CLIENT_SECRET_FILE=billing.secret ORDERS_URL=http://127.0.0.1:9000/orders \
//!     cargo run --example trusted_app
//! ```
//!
//! `CLIENT_SECRET` may hold the secret itself instead. `ORDERS_AUDIENCE` is the API's name at the issuer, unless that is
//! `https://orders.example`. The client needs the grant `client_credentials`, and `orders:read` and `orders:write` there.

use std::{env, process::ExitCode};

use sealwright::client::{
    Client, Credentials, Error, Party, Secret,
    reqwest::{Response, StatusCode, Url},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

#[derive(Debug, Deserialize)]
struct Order {
    id: u64,
    item: String,
}

/// Called once. Nothing is fetched yet, so the job starts while the issuer is down.
fn orders_client(orders: &Url) -> Result<Client, String> {
    // A file is read for each token, so that a secret can be replaced while the job runs.
    let secret = env::var_os("CLIENT_SECRET_FILE").map_or_else(|| Secret::env("CLIENT_SECRET"), Secret::file);
    let client = Credentials::client(setting("CLIENT_ID")?, secret)
        .issuer(setting("ISSUER")?)
        .resource(env::var("ORDERS_AUDIENCE").unwrap_or_else(|_| "https://orders.example".to_owned()))
        // The token is sent to no other origin.
        .attach_to([orders.origin().ascii_serialization()]);
    client.build().map_err(|error| format!("The operator of this job has to act: {error}."))
}

fn setting(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("The operator of this job has to act: set {name}."))
}

/// Places an order and lists all orders. Returns what it did, or which party has to do what first.
async fn bill() -> Result<String, String> {
    let orders =
        Url::parse(&setting("ORDERS_URL")?).map_err(|error| format!("The operator of this job has to act: ORDERS_URL: {error}."))?;
    let api = orders_client(&orders)?;
    let new: Order = read(api.post(orders.clone()).json(&json!({ "item": "printer paper" })).send().await).await?;
    let all: Vec<Order> = read(api.get(orders).send().await).await?;
    let items: Vec<String> = all.into_iter().map(|order| format!("{} ({})", order.item, order.id)).collect();
    Ok(format!("Ordered {} as number {}.\nOrdered by this app so far: {}.", new.item, new.id, items.join(", ")))
}

async fn read<T: DeserializeOwned>(answer: Result<Response, Error>) -> Result<T, String> {
    let answer = answer.map_err(sentence)?;
    match answer.status() {
        status if status.is_success() => answer.json().await.map_err(|error| sentence(error.into())),
        // The token was valid. The issuer decides what this client may do there.
        StatusCode::FORBIDDEN => Err("The issuer's operator has to act: give this client orders:read and orders:write.".to_owned()),
        status => Err(format!("The API's operator has to act: it answers {status}.")),
    }
}

fn sentence(error: Error) -> String {
    match error.party() {
        Party::Issuer => format!("The issuer's operator has to act: {error}."),
        Party::Network => format!("Run this job again when the network is back: {error}."),
        Party::Api => format!("The API's operator has to act: {error}."),
        _ => format!("The operator of this job has to act: {error}."),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = bill().await;
    match &done {
        Ok(done) => println!("{done}"),
        Err(sentence) => eprintln!("{sentence}"),
    }
    ExitCode::from(u8::from(done.is_err()))
}
