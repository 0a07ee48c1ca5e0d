//! HTTP/2 on either side, and TLS.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::body::{Body, Bytes};
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http2,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_rustls::TlsAcceptor;

use super::{Between, LONG, SHORT, request, serve, within_a_minute};
use crate::proxy::{ForwardError, Forwarder, Options, Protocol, Reserved, TimeLimits};

/// Sends a request over HTTP/2.
async fn ask(server: SocketAddr, request: Request<Body>) -> Response<Incoming> {
    let stream = TokioIo::new(TcpStream::connect(server).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    within_a_minute(sender.send_request(request)).await.unwrap()
}

/// A body of unknown length, with trailers.
fn with_trailers(data: &'static str, trailers: &[(&'static str, &'static str)]) -> Body {
    let parsed = |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap());
    let trailers: HeaderMap = trailers.iter().map(parsed).collect();
    let frames = [Ok::<_, Infallible>(Frame::data(Bytes::from_static(data.as_bytes()))), Ok(Frame::trailers(trailers))];
    Body::new(StreamBody::new(stream::iter(frames)))
}

async fn read(body: Incoming) -> (String, HeaderMap) {
    let collected = within_a_minute(body.collect()).await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    (String::from_utf8(collected.to_bytes().to_vec()).unwrap(), trailers)
}

/// Serves an upstream that answers with what it has got: its version, its authority and its `te` in the header, the body and its trailers.
async fn mirror(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let service = service_fn(|request: Request<Incoming>| async move {
        let version = format!("{:?}", request.version());
        let header = |name: &str| request.headers().get(name).map_or_else(String::new, |value| value.to_str().unwrap().to_owned());
        let host = request.uri().authority().map_or_else(|| header("host"), ToString::to_string);
        let answer = Response::builder().header("x-version", version).header("x-host", host).header("x-te", header("te"));
        let (text, mut trailers) = read(request.into_body()).await;
        trailers.insert("x-status", "0".parse().unwrap());
        let frames = [Ok::<_, Infallible>(Frame::data(Bytes::from(text))), Ok(Frame::trailers(trailers))];
        Ok::<_, Infallible>(answer.body(StreamBody::new(stream::iter(frames))).unwrap())
    });
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

#[tokio::test]
async fn gd2_http_2_becomes_http_1_1() {
    let reserved = Reserved::new(["x-token-subject".parse().unwrap()]);
    let between = Between::new(LONG, Options { reserved, ..Options::default() }).await;
    let request = Request::post("https://api.example/a?b")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .header("trailer", "content-digest, x-token-subject")
        .body(with_trailers("hi", &[("content-digest", "1"), ("x-token-subject", "eve")]))
        .unwrap();
    let asked = tokio::spawn(ask(between.server, request));
    let mut upstream = between.accept().await;
    let head = upstream.head().await;
    assert!(head.starts_with("post /a?b http/1.1\r\n"), "{head}");
    for line in ["host: api.example", "cookie: a=1; b=2", "te: trailers", "transfer-encoding: chunked", "via: 2 sealwright"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} is missing in {head}");
    }
    assert_eq!(upstream.receive("\r\n\r\n").await, "2\r\nhi\r\n0\r\ncontent-digest: 1\r\n\r\n");
    upstream
        .send(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n0\r\nX-Sum: 2\r\n\r\n",
        )
        .await;
    let answer = within_a_minute(asked).await.unwrap();
    assert!(answer.status() == 200 && !answer.headers().contains_key("connection"));
    let (text, trailers) = read(answer.into_body()).await;
    assert_eq!((text.as_str(), &trailers["x-sum"]), ("yes", &"2".parse().unwrap()));
}

#[tokio::test]
async fn gd2_an_answer_without_a_body_announces_none_over_http_2() {
    let between = Between::new(LONG, Options::default()).await;
    let asked = tokio::spawn(ask(between.server, Request::get("http://x/").body(Body::empty()).unwrap()));
    let mut upstream = between.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n").await;
    let answer = within_a_minute(asked).await.unwrap();
    assert!(answer.status() == 204 && !answer.headers().contains_key("content-length"), "{answer:?}");
    assert_eq!(read(answer.into_body()).await.0, "");
}

#[tokio::test]
async fn gd2_a_caller_over_http_2_that_does_not_read_is_cut_off_and_its_slot_is_free() {
    let between = Between::new(TimeLimits { idle: SHORT, ..LONG }, Options { concurrent: 1, ..Options::default() }).await;
    let get = || Request::get("http://x/").body(Body::empty()).unwrap();
    let asked = tokio::spawn(ask(between.server, get()));
    let mut upstream = between.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await;
    let answer = within_a_minute(asked).await.unwrap();
    let piece = vec![b'x'; 64 * 1024];
    within_a_minute(async { while upstream.stream.write_all(&piece).await.is_ok() {} }).await;
    let _other = tokio::spawn(ask(between.server, get()));
    between.accept().await.head().await;
    assert!(within_a_minute(answer.into_body().collect()).await.is_err());
}

#[tokio::test]
async fn gd2_an_http_2_connection_on_which_an_answer_is_late_is_not_used_again() {
    let options = Options { protocol: Protocol::Http2, ..Options::default() };
    let between = Between::new(TimeLimits { answer: SHORT, ..LONG }, options).await;
    let mut silent = Vec::new();
    for _ in 0..2 {
        let both = async { tokio::join!(between.forwarder.forward(request("GET", Body::empty())), between.accept()) };
        let (forwarded, upstream) = within_a_minute(both).await;
        assert_eq!(forwarded.unwrap_err(), ForwardError::TimedOut);
        silent.push(upstream);
    }
}

/// Serves an upstream over HTTP/2 that allows so many streams at once. `/never` is not answered, but its arrival is notified; other
/// answers have 100 KiB.
fn serve_streams(upstream: TcpListener, streams: u32) -> Arc<Notify> {
    let arrived = Arc::new(Notify::new());
    let notify = Arc::clone(&arrived);
    tokio::spawn(async move {
        let service = service_fn(move |request: Request<Incoming>| {
            let notify = Arc::clone(&notify);
            async move {
                if request.uri().path() == "/never" {
                    notify.notify_one();
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(Response::new(Body::from(vec![b'x'; 100 * 1024])))
            }
        });
        let stream = TokioIo::new(upstream.accept().await.unwrap().0);
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http2().max_concurrent_streams(streams);
        let _ = builder.serve_connection(stream, service).await;
    });
    arrived
}

#[tokio::test]
async fn gd2_callers_that_do_not_read_do_not_keep_others_from_an_http_2_upstream() {
    const UNREAD: usize = 300;
    let options = Options { protocol: Protocol::Http2, concurrent: UNREAD + 1, ..Options::default() };
    let Between { upstream, forwarder, .. } = Between::new(LONG, options).await;
    serve_streams(upstream, 1000);
    let mut unread = Vec::new();
    for _ in 0..UNREAD {
        unread.push(within_a_minute(forwarder.forward(request("GET", Body::empty()))).await.unwrap());
    }
    let answer = within_a_minute(forwarder.forward(request("GET", Body::empty()))).await.unwrap();
    assert_eq!(within_a_minute(answer.into_body().collect()).await.unwrap().to_bytes().len(), 100 * 1024);
}

#[tokio::test]
async fn gd2_a_request_for_which_an_http_2_upstream_has_no_stream_is_503() {
    // The connection itself has to be made within this time.
    let limits = TimeLimits { connect: Duration::from_secs(2), ..LONG };
    let Between { upstream, forwarder, .. } = Between::new(limits, Options { protocol: Protocol::Http2, ..Options::default() }).await;
    let arrived = serve_streams(upstream, 1);
    // With the first answer, the forwarder knows how many streams there are.
    let answer = within_a_minute(forwarder.forward(request("GET", Body::empty()))).await.unwrap();
    within_a_minute(answer.into_body().collect()).await.unwrap();
    let mut never = request("GET", Body::empty());
    *never.uri_mut() = "/never".parse().unwrap();
    let mut waiting = Box::pin(forwarder.forward(never));
    tokio::select! {
        _ = &mut waiting => panic!("it is not answered"),
        () = within_a_minute(arrived.notified()) => {}
    }
    let refused = within_a_minute(forwarder.forward(request("POST", Body::from("hello")))).await.unwrap_err();
    assert_eq!((&refused, refused.status().as_u16()), (&ForwardError::Full, 503));
}

#[tokio::test]
async fn gd2_an_invalid_answer_over_http_2_is_not_asked_for_twice_and_a_refused_stream_is() {
    let Between { upstream, forwarder, .. } = Between::new(LONG, Options { protocol: Protocol::Http2, ..Options::default() }).await;
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let arrived = Arc::clone(&seen);
    tokio::spawn(async move {
        let mut connection = h2::server::handshake(upstream.accept().await.unwrap().0).await.unwrap();
        while let Some(Ok((request, mut answer))) = connection.accept().await {
            let path = request.uri().path().to_owned();
            let before = arrived.lock().unwrap().contains(&path);
            // The length of a body that does not follow.
            let length = if path == "/invalid" { "20" } else { "0" };
            if path.starts_with("/refused") && !before {
                answer.send_reset(h2::Reason::REFUSED_STREAM);
            } else {
                answer.send_response(Response::builder().header("content-length", length).body(()).unwrap(), true).unwrap();
            }
            arrived.lock().unwrap().push(path);
        }
    });
    let ask = async |path: &str| {
        let mut request = request("GET", Body::empty());
        *request.uri_mut() = path.parse().unwrap();
        within_a_minute(forwarder.forward(request)).await.map_or_else(|error| error.status(), |answer| answer.status()).as_u16()
    };
    let first = ask("/refused/on-a-new-connection").await;
    assert_eq!((first, ask("/invalid").await, ask("/refused").await), (200, 502, 200));
    assert_eq!(*seen.lock().unwrap(), ["/refused/on-a-new-connection", "/refused/on-a-new-connection", "/invalid", "/refused", "/refused"]);
}

#[tokio::test]
async fn gd2_a_request_over_http_2_names_one_host() {
    let between = Between::new(LONG, Options::default()).await;
    for (uri, host) in [("http://x/", Some("y")), ("http://a@x/", None)] {
        let mut request = Request::get(uri).body(Body::empty()).unwrap();
        if let Some(host) = host {
            request.headers_mut().insert("host", host.parse().unwrap());
        }
        assert_eq!(ask(between.server, request).await.status(), 400, "{uri}");
        assert!(between.is_left_alone());
    }
}

#[tokio::test]
async fn gd2_http_2_reaches_the_upstream_as_http_2_with_trailers() {
    let between = Between::new(LONG, Options { protocol: Protocol::Http2, ..Options::default() }).await;
    let upstream = between.upstream.local_addr().unwrap();
    let request = Request::post("http://api.example/orders.Orders/List")
        .header("te", "trailers")
        .body(with_trailers("hi", &[("content-digest", "1"), ("authorization", "Bearer y")]))
        .unwrap();
    let asked = tokio::spawn(ask(between.server, request));
    let stream = within_a_minute(between.upstream.accept()).await.unwrap().0;
    tokio::spawn(mirror(stream));
    let answer = within_a_minute(asked).await.unwrap();
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!((header("x-version").as_str(), header("x-te").as_str()), ("HTTP/2.0", "trailers"));
    assert_eq!(header("x-host"), upstream.to_string());
    let (text, trailers) = read(answer.into_body()).await;
    assert_eq!(text, "hi");
    assert_eq!((&trailers["content-digest"], &trailers["x-status"]), (&"1".parse().unwrap(), &"0".parse().unwrap()));
    assert!(!trailers.contains_key("authorization"));
}

/// A root for `localhost`, in a file, and the settings of a server that has a certificate of it.
fn authority(protocols: &[&str]) -> (tempfile::NamedTempFile, TlsAcceptor) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &root).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), root.pem()).unwrap();
    (file, TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn gd2_the_upstream_chooses_its_version_of_http_in_tls() {
    for (protocols, version) in [(&["h2", "http/1.1"][..], "HTTP/2.0"), (&["http/1.1"][..], "HTTP/1.1"), (&[][..], "HTTP/1.1")] {
        let (root, acceptor) = authority(protocols);
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = format!("localhost:{}", upstream.local_addr().unwrap().port());
        let options = Options { protocol: Protocol::Negotiated, extra_ca: Some(root.path().to_owned()), ..Options::default() };
        let forwarder = Forwarder::new(format!("https://{authority}").parse().unwrap(), LONG, options).unwrap();
        let server = serve(forwarder).await;
        tokio::spawn(async move {
            loop {
                let stream = upstream.accept().await.unwrap().0;
                let acceptor = acceptor.clone();
                tokio::spawn(async move { mirror(acceptor.accept(stream).await.unwrap()).await });
            }
        });
        let request = Request::post("http://api.example/").body(with_trailers("hi", &[])).unwrap();
        let answer = ask(server, request).await;
        assert_eq!((&answer.headers()["x-version"], &answer.headers()["x-host"]), (&version.parse().unwrap(), &authority.parse().unwrap()));
        assert_eq!(read(answer.into_body()).await.0, "hi");
    }
}

#[tokio::test]
async fn gd2_an_upstream_whose_certificate_is_not_trusted_or_that_is_silent_in_tls_is_not_reached() {
    let ((root, _), (_, stranger)) = (authority(&[]), authority(&[]));
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("https://localhost:{}", upstream.local_addr().unwrap().port());
    let build = |limits: TimeLimits| {
        let options = Options { extra_ca: Some(root.path().to_owned()), ..Options::default() };
        Forwarder::new(origin.parse().unwrap(), limits, options).unwrap()
    };
    let request = || request("GET", Body::empty());
    let accepted = async { stranger.accept(upstream.accept().await.unwrap().0).await.is_err() };
    let forwarder = build(LONG);
    let (forwarded, refused) = within_a_minute(async { tokio::join!(forwarder.forward(request()), accepted) }).await;
    assert!(refused && matches!(forwarded, Err(ForwardError::Unreachable(_))), "{forwarded:?}");

    let silent = within_a_minute(build(TimeLimits { connect: SHORT, ..LONG }).forward(request())).await;
    assert_eq!(silent.unwrap_err(), ForwardError::TimedOut);
}

#[test]
fn gd2_a_file_without_certificates_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let build = |path: &std::path::Path| {
        let options = Options { extra_ca: Some(path.to_owned()), ..Options::default() };
        Forwarder::new("https://localhost".parse().unwrap(), LONG, options).unwrap_err().to_string()
    };
    assert!(build(file.path()).contains("contains no certificate in PEM"));
    assert!(build("/nowhere/ca.pem".as_ref()).starts_with("/nowhere/ca.pem cannot be read: "));
}
