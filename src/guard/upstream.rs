//! The API behind a guard that forwards: what of an admitted request reaches it.

use std::{net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts},
    response::Response,
};
use futures_util::future::BoxFuture;

use crate::{
    clock::{SharedClock, Timestamp, reached},
    proxy::{BuildError, ForwardError, Forwarder, HostField, Options, Origin, Protocol, Reserved, Terms, TimeLimits},
    server::{
        edge::{Traffic, connections_behind, source_network},
        process::keep_without_length,
        settings::{Error, Setting, Values, boolean, duration, number, path, setting},
    },
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The name under which a WebSocket sleeps until its token expires.
const UNTIL_EXPIRY: &str = "websocket";

/// What a caller can claim about its connection, and only a trusted proxy may.
const ABOUT_THE_CALLER: [&str; 15] = [
    "cf-connecting-ip",
    "client-ip",
    "forwarded",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-real-ip",
];

/// Behind CGI, this is the variable `HTTP_PROXY`, by which many libraries choose the proxy for their own requests (httpoxy). It has no other
/// meaning.
const PROXY: HeaderName = HeaderName::from_static("proxy");

/// The settings of a guard that forwards.
#[derive(Debug, Clone)]
pub(super) struct UpstreamPolicy {
    pub(super) origin: Origin,
    protocol: Protocol,
    extra_ca: Option<PathBuf>,
    concurrent: usize,
    limits: TimeLimits,
    /// Whether the API gets the token, too.
    pass_token: bool,
}

impl UpstreamPolicy {
    pub(super) const SETTINGS: &'static [Setting] = &[
        setting(
            "upstream",
            None,
            "the API to which admitted requests are forwarded; set either this or gateway",
            "an http or https URL without a path, such as http://127.0.0.1:3000",
        ),
        setting(
            "upstream_protocol",
            Some("http1"),
            "which HTTP the API is spoken to in; negotiated is HTTP/2 or HTTP/1.1, as the TLS handshake says",
            "http1, http2 or negotiated",
        ),
        setting(
            "upstream_host",
            None,
            "the Host that the API gets: the caller's (by default, if upstream_protocol is http1) or its own",
            "caller or upstream; caller only with upstream_protocol = http1",
        ),
        setting("upstream_ca", None, "certificates in PEM whose issuers are trusted for the API, besides the system's", "a path"),
        setting(
            "upstream_requests",
            Some("1024"),
            "maximum number of requests to the API under way; further ones are answered with 503",
            "a number from 1 to 100000",
        ),
        setting("upstream_connect_timeout", Some("5s"), "how long a connection to the API may take, with TLS", "a duration from 1s to 1m"),
        setting(
            "upstream_answer_timeout",
            Some("60s"),
            "how long the API may take to begin its answer once it has the request",
            "a duration from 1s to 1h",
        ),
        setting("upstream_idle_timeout", Some("60s"), "how long a body or a WebSocket may pause", "a duration from 1s to 24h"),
        setting("pass_token", Some("false"), "whether the API gets the Authorization header, too", "true or false"),
    ];

    /// `None` if no upstream is set.
    pub(super) fn read(values: &Values) -> Result<Option<Self>, Error> {
        let origin: Option<Origin> = values.parse_if_any("upstream", |text| text.parse().map_err(|_| None))?;
        let own_host = values.parse_if_any("upstream_host", |text| match text {
            "caller" => Ok(false),
            "upstream" => Ok(true),
            _ => Err(None),
        })?;
        let protocol = values.parse("upstream_protocol", |text| match text {
            "http1" if own_host == Some(true) => Ok(Protocol::Http1(HostField::Origin)),
            "http1" => Ok(Protocol::Http1(HostField::Caller)),
            "http2" => Ok(Protocol::Http2),
            "negotiated" => Ok(Protocol::Negotiated),
            _ => Err(None),
        })?;
        if own_host == Some(false) && !matches!(protocol, Protocol::Http1(_)) {
            return Err(values.refuse("upstream_host", Some("only HTTP/1.1 can keep the caller's Host".to_owned())));
        }
        let extra_ca = values.parse_if_any("upstream_ca", path)?;
        let concurrent = values.parse("upstream_requests", number(1, 100_000))?;
        let between = |name, most| values.parse(name, duration(Duration::from_secs(1), Duration::from_secs(most)));
        let connect = between("upstream_connect_timeout", 60)?;
        let answer = between("upstream_answer_timeout", 3600)?;
        let idle = between("upstream_idle_timeout", 24 * 3600)?;
        let limits = TimeLimits::new(connect, answer, idle).ok_or_else(|| values.refuse("upstream_idle_timeout", None))?;
        let pass_token = values.parse("pass_token", boolean)?;
        if pass_token && origin.is_none() {
            return Err(values
                .refuse("pass_token", Some("it is for a guard with upstream: a gateway passes on what it is configured to".to_owned())));
        }
        Ok(origin.map(|origin| Self { origin, protocol, extra_ca, concurrent, limits, pass_token }))
    }
}

impl UpstreamPolicy {
    /// What requests are like that are forwarded. The forwarder's own limits end first, with an answer that says why.
    pub(super) fn traffic(&self) -> Traffic {
        Traffic::Streams { quiet: self.limits.quiet() }
    }
}

/// The API.
#[derive(Debug)]
pub(super) struct Upstream {
    forwarder: Forwarder,
    clock: SharedClock,
    token_headers: Reserved,
    about_the_caller: Reserved,
    pass_token: bool,
    /// Whether callers connect by TLS.
    tls: bool,
}

impl Upstream {
    /// Reads certificates, and blocks meanwhile. `token_headers` are the names that no caller may use.
    pub(super) fn open(policy: UpstreamPolicy, token_headers: Reserved, tls: bool, clock: SharedClock) -> Result<Self, BuildError> {
        let UpstreamPolicy { origin, protocol, extra_ca, concurrent, limits, pass_token } = policy;
        let about_the_caller = || ABOUT_THE_CALLER.into_iter().map(HeaderName::from_static);
        // No caller removes them either, by naming them in `Connection`.
        let reserved = token_headers.and(about_the_caller());
        let options = Options { protocol, reserved, extra_ca, concurrent }.within(connections_behind());
        let forwarder = Forwarder::new(origin, limits, options)?;
        let about_the_caller = Reserved::new(about_the_caller());
        Ok(Self { forwarder, clock, token_headers, about_the_caller, pass_token, tls })
    }

    /// Removes from a request what the API must not believe or get, and says where it comes from. `peer` is the other side of the connection,
    /// which may be a trusted proxy.
    pub(super) fn prepare(&self, parts: &mut Parts, peer: IpAddr, is_trusted: bool) {
        self.token_headers.remove_from(&mut parts.headers);
        parts.headers.remove(PROXY);
        if !self.pass_token {
            parts.headers.remove(header::AUTHORIZATION);
        }
        // A trusted proxy writes these names as they are. It may pass on the caller's fields in another spelling, which an API takes for them.
        let claims: Vec<HeaderName> = parts.headers.keys().filter(|name| self.about_the_caller.contains(name)).cloned().collect();
        for name in claims.into_iter().filter(|name| !is_trusted || !ABOUT_THE_CALLER.contains(&name.as_str())) {
            parts.headers.remove(name);
        }
        let host = parts.uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        let host = host.or_else(|| parts.headers.get(header::HOST).cloned());
        let headers = &mut parts.headers;
        append_address(headers, peer);
        if !headers.contains_key(X_FORWARDED_PROTO) {
            headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(if self.tls { "https" } else { "http" }));
        }
        if let Some(host) = host.filter(|_| !headers.contains_key(X_FORWARDED_HOST)) {
            headers.insert(X_FORWARDED_HOST, host);
        }
    }

    /// Forwards a request of `source`. A WebSocket that it begins ends at the time `until`, from which on its token is refused.
    pub(super) async fn forward(
        &self,
        parts: Parts,
        body: Body,
        source: IpAddr,
        until: Option<Timestamp>,
    ) -> Result<Response, ForwardError> {
        let expiry = |end: Timestamp| -> BoxFuture<'static, ()> {
            let clock = Arc::clone(&self.clock);
            Box::pin(async move { reached(&*clock, UNTIL_EXPIRY, end).await })
        };
        let terms = Terms { source: Some(source_network(source)), until: until.map(expiry) };
        let mut answer = self.forwarder.forward_on(Request::from_parts(parts, body), terms).await?;
        keep_without_length(&mut answer);
        Ok(answer)
    }
}

/// Appends the address to `X-Forwarded-For`, in one line.
fn append_address(headers: &mut HeaderMap, peer: IpAddr) {
    let mut chain: Vec<u8> = Vec::new();
    for value in headers.get_all(X_FORWARDED_FOR) {
        chain.extend_from_slice(value.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(peer.to_canonical().to_string().as_bytes());
    // Values of headers, commas and an address are the value of a header.
    if let Ok(value) = HeaderValue::from_bytes(&chain) {
        headers.insert(X_FORWARDED_FOR, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn upstream(pass_token: bool) -> Upstream {
        let second = Duration::from_secs(1);
        let limits = TimeLimits::new(second, second, second).unwrap();
        let protocol = Protocol::Http1(HostField::Caller);
        let origin = "http://127.0.0.1:3000".parse().unwrap();
        let policy = UpstreamPolicy { origin, protocol, extra_ca: None, concurrent: 1, limits, pass_token };
        Upstream::open(policy, Reserved::new([HeaderName::from_static("x-token-subject")]), true, Arc::new(SystemClock)).unwrap()
    }

    /// The headers that the API gets, in alphabetical order.
    fn prepared(pass_token: bool, is_trusted: bool, headers: &[(&str, &str)]) -> Vec<(String, String)> {
        let request = headers.iter().fold(Request::get("/orders"), |request, (name, value)| request.header(*name, *value));
        let (mut parts, _) = request.body(Body::empty()).unwrap().into_parts();
        upstream(pass_token).prepare(&mut parts, "192.0.2.7".parse().unwrap(), is_trusted);
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        let mut got: Vec<_> = parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        got.sort();
        got
    }

    fn owned(headers: &[(&str, &str)]) -> Vec<(String, String)> {
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    const CLAIMED: [(&str, &str); 12] = [
        ("host", "orders.example"),
        ("authorization", "Bearer abc"),
        ("x-token-subject", "admin"),
        ("X_Token_Subject", "admin"),
        ("x-forwarded-for", "203.0.113.1"),
        ("x-forwarded-proto", "gopher"),
        ("x_forwarded_for", "203.0.113.2"),
        ("forwarded", "for=203.0.113.3"),
        ("client-ip", "203.0.113.4"),
        ("True_Client_Ip", "203.0.113.5"),
        ("cf-connecting-ip", "203.0.113.6"),
        ("proxy", "http://admin"),
    ];

    #[tokio::test]
    async fn gd1_what_a_caller_claims_about_itself_does_not_reach_the_api() {
        let expected = [
            ("host", "orders.example"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-host", "orders.example"),
            ("x-forwarded-proto", "https"),
        ];
        assert_eq!(prepared(false, false, &CLAIMED), owned(&expected));
        let with_token = [("authorization", "Bearer abc"), expected[0], expected[1], expected[2], expected[3]];
        assert_eq!(prepared(true, false, &CLAIMED), owned(&with_token));
    }

    #[tokio::test]
    async fn gd1_what_a_trusted_proxy_says_about_the_caller_reaches_the_api() {
        let got = prepared(false, true, &CLAIMED);
        assert!(got.contains(&("x-forwarded-for".to_owned(), "203.0.113.1, 192.0.2.7".to_owned())), "{got:?}");
        assert!(got.contains(&("x-forwarded-proto".to_owned(), "gopher".to_owned())), "{got:?}");
        assert!(got.contains(&("client-ip".to_owned(), "203.0.113.4".to_owned())), "{got:?}");
        assert!(got.iter().all(|(_, value)| !value.contains("admin") && !value.contains("abc")), "{got:?}");
        assert!(got.iter().all(|(name, _)| name != "x_forwarded_for" && name != "true_client_ip"), "{got:?}");
    }
}
