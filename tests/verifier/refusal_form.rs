//! The form of a refusal: an HTTP status or a gRPC status. The API chooses it when it builds the layer; no request can.

use sealwright::verifier::{TokenLayer, testing::Issuer};

use crate::{
    layer::{Client, Read, Write, api},
    support::{AUDIENCE, warm},
};

/// A tonic server behind the layer, with tonic's own health service.
async fn serve_health(layer: TokenLayer) -> String {
    let (_reporter, health) = tonic_health::server::health_reporter();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(tonic::transport::Server::builder().layer(layer).add_service(health).serve_with_incoming(incoming));
    address
}

/// The code with which a call to tonic's health service fails, if it does.
async fn call_health(address: &str, token: Option<String>) -> Option<tonic::Code> {
    use tonic::{Request, metadata::MetadataValue, transport::Endpoint};
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

    let mut client = HealthClient::new(Endpoint::from_shared(address.to_owned()).unwrap().connect().await.unwrap());
    let mut request = Request::new(HealthCheckRequest::default());
    if let Some(token) = token {
        let bearer: MetadataValue<_> = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
    }
    client.check(request).await.err().map(|status| status.code())
}

#[tokio::test]
async fn hd1_a_layer_with_grpc_answers_every_refusal_with_a_grpc_status() {
    use tonic::Code;

    let issuer = Issuer::start().await.unwrap();
    let address = serve_health(warm(&issuer).await.layer().require::<Read>().grpc()).await;
    let token = |scope: &str| Some(issuer.token(AUDIENCE).scope(scope).sign().unwrap());
    assert_eq!(call_health(&address, None).await, Some(Code::Unauthenticated));
    assert_eq!(call_health(&address, Some("junk".to_owned())).await, Some(Code::Unauthenticated));
    assert_eq!(call_health(&address, Some("a b".to_owned())).await, Some(Code::InvalidArgument));
    assert_eq!(call_health(&address, token("orders:write")).await, Some(Code::PermissionDenied));
    assert_eq!(call_health(&address, token("orders:read")).await, None);

    issuer.go_down();
    let cold = serve_health(issuer.verifier(AUDIENCE).build().unwrap().layer().grpc()).await;
    assert_eq!(call_health(&cold, token("orders:read")).await, Some(Code::Unavailable), "also when the answer waited for the keys");

    // Trailers-Only: HTTP status 200, and grpc-status among the headers.
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    for media_type in GRPC_TYPES.iter().chain(&OTHER_TYPES) {
        let answer =
            client.post(format!("{address}/grpc.health.v1.Health/Check")).header("content-type", *media_type).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()["grpc-status"]), (200, &"16".parse().unwrap()), "{media_type}");
        assert_eq!(answer.headers()["content-type"], "application/grpc");
    }
}

/// Content types by which a request identifies itself as gRPC.
const GRPC_TYPES: [&str; 7] = [
    "application/grpc",
    "application/grpc+proto",
    "application/grpc; charset=utf-8",
    "application/grpcxyz",
    "application/grpc-web",
    "application/grpc-web+proto",
    "application/grpc-web-text",
];
const OTHER_TYPES: [&str; 3] = ["application/json", "text/plain", "application/x-www-form-urlencoded"];

/// Headers of gRPC clients and browsers that could make an API answer in another form.
fn every_disguise() -> Vec<reqwest::header::HeaderMap> {
    let named = |name: &'static str, value: &'static str| -> reqwest::header::HeaderMap {
        [(name.parse().unwrap(), value.parse().unwrap())].into_iter().collect()
    };
    let types = GRPC_TYPES.into_iter().chain(OTHER_TYPES);
    let mut headers: Vec<_> = types.flat_map(|it| [named("content-type", it), named("accept", it)]).collect();
    for (name, value) in [
        ("te", "trailers"),
        ("grpc-timeout", "1S"),
        ("grpc-accept-encoding", "gzip"),
        ("user-agent", "grpc-rust/1"),
        ("x-grpc-web", "1"),
        ("connect-protocol-version", "1"),
        ("expect", "100-continue"),
        ("x-requested-with", "XMLHttpRequest"),
        ("sec-fetch-mode", "navigate"),
        ("origin", "https://elsewhere.example"),
        ("upgrade", "websocket"),
        ("x-http-method-override", "OPTIONS"),
    ] {
        headers.push(named(name, value));
    }
    headers
}

#[tokio::test]
async fn hd1_no_header_of_a_request_changes_the_status_of_a_refusal() {
    let issuer = Issuer::start().await.unwrap();
    let (verifier, cold) = (warm(&issuer).await, Issuer::start().await.unwrap());
    cold.go_down();
    // A layer that waits for keys in vain answers on a different code path than one that has keys.
    let waits = Client::of(api(cold.verifier(AUDIENCE).build().unwrap().layer())).await;
    let by_cold = cold.token(AUDIENCE).sign().unwrap();
    let strict = Client::of(api(verifier.layer())).await;
    let anonymous = Client::of(api(verifier.layer().allow_anonymous())).await;
    let requiring = Client::of(api(verifier.layer().require::<Write>())).await;
    let read = issuer.token(AUDIENCE).scope("orders:read").sign().unwrap();
    let unknown = issuer.token(AUDIENCE).header("kid", "unknown").sign().unwrap();
    for headers in every_disguise() {
        for method in [http::Method::GET, http::Method::POST] {
            for (client, path, token, wanted) in [
                (&strict, "/bare", None, 401),
                (&strict, "/any", None, 401),
                (&strict, "/nowhere", None, 401),
                (&strict, "/bare", Some("junk"), 401),
                (&strict, "/bare", Some(unknown.as_str()), 401),
                (&strict, "/bare", Some("a b"), 400),
                (&anonymous, "/any", None, 401),
                (&anonymous, "/any", Some("junk"), 401),
                (&requiring, "/bare", Some(read.as_str()), 403),
                (&waits, "/bare", Some(by_cold.as_str()), 503),
            ] {
                let request = client.http.request(method.clone(), format!("http://{}{path}", client.addr)).headers(headers.clone());
                let request = match token {
                    Some(token) => request.header("authorization", format!("Bearer {token}")),
                    None => request,
                };
                let answer = request.send().await.unwrap();
                assert_eq!(answer.status().as_u16(), wanted, "{method} {path} {headers:?}");
                assert!(!answer.headers().contains_key("grpc-status"), "{headers:?}");
            }
        }
        // The refusals of the extractors, behind the layer or without it.
        for (path, token, wanted) in
            [("/both", &read, 403), ("/tenant", &read, 401), ("/apps", &user_of(&issuer), 403), ("/forgotten", &read, 500)]
        {
            let answer = strict.get(path).headers(headers.clone()).bearer_auth(token).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), wanted, "{path} {headers:?}");
            assert!(!answer.headers().contains_key("grpc-status"), "{headers:?}");
        }
    }
}

fn user_of(issuer: &Issuer) -> String {
    issuer.token(AUDIENCE).user("0197a1b2-c3d4-4e5f-8a9b-0c1d2e3f4a5b").scope("orders:read").sign().unwrap()
}

#[tokio::test]
async fn hd1_extractors_answer_like_a_grpc_layer_before_them_and_with_500_without_one() {
    let issuer = Issuer::start().await.unwrap();
    let client = Client::of(api(warm(&issuer).await.layer().grpc().allow_anonymous())).await;
    let read = issuer.token(AUDIENCE).scope("orders:read").sign().unwrap();
    for media_type in ["application/grpc", "application/json"] {
        for (path, code) in [("/both", "7"), ("/tenant", "16")] {
            let answer = client.get(path).header("content-type", media_type).bearer_auth(&read).send().await.unwrap();
            assert_eq!((answer.status().as_u16(), answer.headers()["grpc-status"].to_str().unwrap()), (200, code), "{path} {media_type}");
        }
        let answer = client.get("/any").header("content-type", media_type).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()["grpc-status"].to_str().unwrap()), (200, "16"));
        let answer = client.get("/forgotten").header("content-type", media_type).bearer_auth(&read).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 500, "without a layer, gRPC is unknown");
    }
}
