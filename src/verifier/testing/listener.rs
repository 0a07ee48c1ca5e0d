//! The HTTP server of the testing issuer.

use std::{collections::HashMap, convert::Infallible, future, io, sync::Arc, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    header::{AGE, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};

use super::published::{Behavior, LIST_ROUTE, Shared};
use crate::{
    clock::Clock,
    protocol::{ServerMetadata, StatusListClaims},
};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Serves until it is dropped. That closes every connection.
pub(super) async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // No file descriptors left, or a client that disconnected: both are temporary.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(|request| answer(Arc::clone(&shared), request));
            // The client sees a broken connection, such as one that `Behavior::Down` closes.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// What a request is for.
enum Asked {
    Metadata,
    Keys,
    StatusList,
    Other,
}

impl Asked {
    fn at(shared: &Shared, path: &str) -> Self {
        // The path of the metadata stands before the issuer's own (RFC 8414 section 3.1), or after it.
        let is_at = |route: &str| path.strip_prefix(&*shared.path) == Some(route) || path.strip_suffix(&*shared.path) == Some(route);
        if is_at(ServerMetadata::ROUTE) || is_at(ServerMetadata::ALIAS_ROUTE) {
            Self::Metadata
        } else if path.strip_prefix(&*shared.path) == Some(ServerMetadata::JWKS_ROUTE)
            || shared.published().keys_route.as_deref() == Some(path)
        {
            Self::Keys
        } else if path.strip_prefix(&*shared.path) == Some(LIST_ROUTE) {
            Self::StatusList
        } else {
            Self::Other
        }
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let headers = || -> HashMap<String, String> {
        let headers = request.headers().iter();
        headers.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())).collect()
    };
    let (document, media_type, how) = match Asked::at(&shared, request.uri().path()) {
        Asked::Metadata => {
            shared.metadata_fetches.fetch_add(1, Ordering::SeqCst);
            (shared.metadata(), "application/json", shared.published().metadata_answer.clone())
        }
        Asked::Keys => {
            shared.key_fetches.fetch_add(1, Ordering::SeqCst);
            shared.published().last_key_request = headers();
            (shared.jwks(), "application/jwk-set+json", shared.published().key_answer.clone())
        }
        Asked::StatusList => {
            shared.list_fetches.fetch_add(1, Ordering::SeqCst);
            shared.published().last_list_request = headers();
            (shared.signed_list()?, StatusListClaims::MEDIA_TYPE, shared.published().list_answer.clone())
        }
        Asked::Other => {
            shared.other_requests.fetch_add(1, Ordering::SeqCst);
            let path = request.uri().path();
            shared.record_other(path);
            match shared.answer_of_attacker(path) {
                Some((document, media_type)) => (document, media_type, Behavior::Normal),
                None => (String::new(), "text/plain", Behavior::Status(404)),
            }
        }
    };
    let response = Response::builder();
    let built = match how {
        Behavior::Normal | Behavior::Trickle | Behavior::OldCache => {
            let (etag, max_age) = {
                let published = shared.published();
                match media_type {
                    // By its content, as the real server: each signature is another.
                    StatusListClaims::MEDIA_TYPE => {
                        let list = &published.list;
                        (format!("\"{}-{}-{}\"", published.generation, list.epoch, list.bits().len()), 2)
                    }
                    _ => (format!("\"{}\"", published.generation), published.max_age.as_secs()),
                }
            };
            let response =
                response.header(CONTENT_TYPE, media_type).header(CACHE_CONTROL, format!("public, max-age={max_age}")).header(ETAG, &etag);
            let (condition, cache) = (request.headers().get(IF_NONE_MATCH), request.headers().get(CACHE_CONTROL));
            let old = matches!(how, Behavior::OldCache) && cache.is_none_or(|cache| cache.as_bytes() != b"no-cache");
            if condition.is_some_and(|tag| old || tag.as_bytes() == etag.as_bytes()) {
                response.status(304).body(Empty::new().boxed_unsync())
            } else if matches!(how, Behavior::Trickle) {
                response.body(trickle(shared, document))
            } else {
                response.body(Full::from(document).boxed_unsync())
            }
        }
        Behavior::Down => return Err(io::Error::other("this issuer is down")),
        Behavior::Silent => future::pending().await,
        Behavior::Status(status) => response.status(status).body(Empty::new().boxed_unsync()),
        Behavior::Redirect(url) => response.status(302).header(LOCATION, url).body(Empty::new().boxed_unsync()),
        Behavior::Body(body) => response.body(Full::from(body).boxed_unsync()),
        Behavior::Tagged(body) => response.header(ETAG, "\"tagged\"").body(Full::from(body).boxed_unsync()),
        Behavior::Cached { body, age } => response.header(AGE, age).body(Full::from(body).boxed_unsync()),
        Behavior::Endless => {
            let chunks = stream::repeat(Bytes::from_static(&[b' '; 16 * 1024]));
            response.body(StreamBody::new(chunks.map(|chunk| Ok(Frame::data(chunk)))).boxed_unsync())
        }
    };
    built.map_err(io::Error::other)
}

fn trickle(shared: Arc<Shared>, document: String) -> Body {
    let begun = shared.clock.now();
    let bytes = stream::iter(document.into_bytes()).enumerate().then(move |(second, byte)| {
        let shared = Arc::clone(&shared);
        async move {
            shared.clock.sleep_until("slow answer", begun + Duration::from_secs(second as u64)).await;
            Ok(Frame::data(Bytes::from(vec![byte])))
        }
    });
    StreamBody::new(bytes).boxed_unsync()
}
