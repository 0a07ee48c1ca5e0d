//! The public listener.

use std::{net::SocketAddr, sync::Arc};

use super::{
    config::Config,
    edge::MemoryBudget,
    http,
    parts::Parts,
    process::{End, Hosts, Service},
};

pub(super) fn service(config: &Config, parts: &Parts, addr: SocketAddr) -> Service {
    let (app, meters) = (&parts.app, &parts.meters);
    let limits = config.http.listener.limits.affordable();
    meters.connections.most.set(i64::try_from(limits.total).unwrap_or(i64::MAX));
    let mut router = http::router(Arc::clone(app), &parts.issuer);
    if config.http.api_docs.demo.is_some() {
        // The page of a demo shows secrets.
        let names = parts.issuer.host().into_iter().collect();
        router = Hosts::new(addr.ip(), names, "Open the address that the demo printed.").guard(router);
    }
    Service {
        router,
        tls: parts.tls.clone(),
        limits,
        proxies: Arc::clone(&app.proxies),
        meters: meters.connections.clone(),
        budget: MemoryBudget::new(config.http.listener.unauthenticated_memory, meters.connections.memory_refused.clone()),
        end: End::Drained(app.stopping.clone(), config.http.listener.drain),
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request, routing::get};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::{clock::SystemClock, server::config::Sources};

    #[tokio::test]
    async fn a_panic_in_a_handler_is_one_500_with_a_request_id_and_other_requests_succeed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let flags = [
            ("listen", "127.0.0.1:0".to_owned()),
            ("management_listen", "off".to_owned()),
            ("database_url", format!("sqlite://{}", path("sealwright.db"))),
            ("database_connections", "1".to_owned()),
            ("keys_dir", path("keys")),
        ];
        let flags = flags.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let config = Config::load(Sources { flags, ..Sources::default() }).unwrap();
        let (parts, _) = Parts::open(&config, Arc::new(SystemClock), None, config.http.listener.listen).await.unwrap();
        let panics = get(async || {
            if true {
                panic!("intended")
            }
        });
        let router = http::with_route(http::router(parts.app.clone(), &parts.issuer), "/panics", panics, parts.app);
        let ask = async |request: Request<Body>| {
            let answer = router.clone().oneshot(request).await.unwrap();
            let (status, id) = (answer.status().as_u16(), answer.headers()["x-request-id"].to_str().unwrap().to_owned());
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            (status, id, String::from_utf8(body.to_vec()).unwrap())
        };
        for _ in 0..3 {
            let (status, id, body) = ask(Request::get("/panics").body(Body::empty()).unwrap()).await;
            assert!(status == 500 && body.contains("server_error") && body.contains(&id) && !body.contains("intended"), "{body}");
            let form = "grant_type=client_credentials&client_id=unknown&client_secret=x";
            let post = Request::post("/oauth/token").header("content-type", "application/x-www-form-urlencoded");
            assert_eq!(ask(post.body(Body::from(form)).unwrap()).await.0, 401, "other requests succeed");
        }
    }
}
