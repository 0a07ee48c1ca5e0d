//! What every request passes through: its id, the checks of its caller, its route, its log line and its metrics.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    http::{StatusCode, Uri, Version, header, request::Parts, uri::PathAndQuery},
    response::Response,
};
use tracing::{Instrument, Span};

use super::{
    config::Authorization,
    failure::{Failure, Reason},
    meters::Meters,
    pages,
    place::Prefix,
    sending::Destination,
};
use crate::{
    clock::Stopwatch,
    server::{
        caller_text,
        edge::{Peer, Stopping},
        process::{Hosts, RequestId, Unread, announce_last, answer_or_panic, known_method},
        telemetry::{self, ALERT, Noise},
    },
};

/// Every caller is on this machine.
const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What a listener does with its requests.
#[derive(Debug)]
pub(super) struct Front {
    /// The destinations by the beginnings of their paths, the longest first.
    pub(super) destinations: Vec<(Prefix, Arc<Destination>)>,
    /// The host names that requests may use. `None` on a Unix socket, which no browser can reach.
    pub(super) hosts: Option<Hosts>,
    pub(super) authorization: Authorization,
    pub(super) meters: Arc<Meters>,
    pub(super) stopping: Stopping,
}

/// Answers a request.
pub(super) async fn front(State(front): State<Arc<Front>>, request: Request) -> Response {
    let route = front.route(request.uri().path());
    let info = Info::new(&request, route.map(|(_, destination)| destination.route));
    let id = info.id.clone();
    let span = telemetry::request_span(id.as_str(), SOURCE);
    telemetry::continue_trace(&span, request.headers(), info.method, &info.route_name());
    let pending = Pending { front: Arc::clone(&front), info, answered: false };
    // What may take how long is limited within.
    let answer = answer_or_panic(front.answer(request, route, &id)).instrument(span.clone()).await;
    let outcome = answer.unwrap_or_else(|panic| Err(Failure::broken(format_args!("panic: {panic}"))));
    pending.finish(&span, outcome)
}

/// The route of a request: the beginning of its path, and where it goes.
type Found<'f> = Option<(&'f Prefix, &'f Destination)>;

impl Front {
    fn route(&self, path: &str) -> Found<'_> {
        let found = self.destinations.iter().find(|(prefix, _)| prefix.remove_from(path).is_some());
        found.map(|(prefix, destination)| (prefix, destination.as_ref()))
    }

    async fn answer(&self, request: Request, route: Found<'_>, id: &RequestId) -> Result<Response, Failure> {
        let (mut parts, body) = request.into_parts();
        let (body, unread) = Unread::new(body, &parts);
        let answer = match self.admit(&mut parts, route) {
            Ok(destination) => {
                id.put_into(&mut parts.headers);
                telemetry::pass_on_trace(&mut parts.headers);
                destination.send(parts, body).await
            }
            Err(failure) => Err(failure),
        };
        // One that has stalled sends nothing.
        if answer.as_ref().is_err_and(|failure| failure.reason != Reason::RequestStalled) {
            unread.discard().await;
        }
        answer
    }

    /// Checks who sent a request, and makes its path that of the origin.
    fn admit<'f>(&self, parts: &mut Parts, route: Found<'f>) -> Result<&'f Destination, Failure> {
        // In HTTP/1.1, only a request to a proxy has a whole URL (RFC 9112 section 3.2.2). The app would take the answer for that of its host.
        let to_a_proxy = parts.version < Version::HTTP_2 && parts.uri.authority().is_some();
        if to_a_proxy || self.hosts.as_ref().is_some_and(|hosts| !hosts.accept(&parts.uri, &parts.headers)) {
            return Err(Failure::host_refused());
        }
        if pages::caused_by_a_page(&parts.headers) {
            return Err(Failure::page_refused());
        }
        // Replacing it in silence would let the app act as the client where it meant to act for someone else.
        if self.authorization == Authorization::Refuse && parts.headers.contains_key(header::AUTHORIZATION) {
            return Err(Failure::authorization_present());
        }
        let (prefix, destination) = route.ok_or_else(Failure::no_route)?;
        parts.uri = without(prefix, &parts.uri).ok_or_else(Failure::no_route)?;
        if let Some(peer) = parts.extensions.get::<Peer>() {
            peer.begin_stream();
        }
        Ok(destination)
    }
}

/// The URI without the prefix of its path.
fn without(prefix: &Prefix, uri: &Uri) -> Option<Uri> {
    if prefix.is_empty() {
        return Some(uri.clone());
    }
    let rest = prefix.remove_from(uri.path())?;
    let path = if rest.is_empty() { "/" } else { rest };
    let path: PathAndQuery = match uri.query() {
        Some(query) => format!("{path}?{query}").parse().ok()?,
        None => path.parse().ok()?,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).ok()
}

/// What is known of a request when it arrives, for the log and the metrics.
struct Info {
    id: RequestId,
    method: &'static str,
    /// Safe to log.
    path: String,
    /// The number of its route.
    route: Option<usize>,
    version: Version,
    since: Stopwatch,
    /// The part of the request that contains a secret by mistake.
    misplaced_secret: Option<&'static str>,
}

impl Info {
    fn new(request: &Request, route: Option<usize>) -> Self {
        let (path, secret_in_path) = caller_text::path(request.uri().path());
        let (id, secret_in_id) = RequestId::of(request.headers());
        let secret_in_query = request.uri().query().is_some_and(caller_text::holds_secret);
        let misplaced = [(secret_in_path, "path"), (secret_in_query, "query"), (secret_in_id, "X-Request-Id")];
        Self {
            id,
            method: known_method(request.method()),
            path,
            route,
            version: request.version(),
            since: Stopwatch::start(),
            misplaced_secret: misplaced.into_iter().find_map(|(found, part)| found.then_some(part)),
        }
    }

    /// The name of its route in traces.
    fn route_name(&self) -> String {
        self.route.map_or_else(|| "none".to_owned(), |route| format!("route {route}"))
    }
}

/// A request without an answer. If it is dropped because its connection was closed, it is counted and logged nevertheless: the origin may have
/// received it.
struct Pending {
    front: Arc<Front>,
    info: Info,
    answered: bool,
}

impl Pending {
    fn finish(mut self, span: &Span, outcome: Result<Response, Failure>) -> Response {
        self.answered = true;
        let (mut response, failure) = match outcome {
            Ok(response) => (response, None),
            Err(failure) => (failure.render(self.info.id.as_str()), Some(failure)),
        };
        let status = response.status();
        let headers = response.headers_mut();
        // An origin that has ids of its own keeps them.
        if !headers.contains_key("x-request-id") {
            self.info.id.put_into(headers);
        }
        // The `Connection` of a 101 says that it is upgraded.
        if status != StatusCode::SWITCHING_PROTOCOLS {
            announce_last(headers, self.info.version, &self.front.stopping);
        }
        telemetry::end_trace(span, status.as_u16(), None);
        self.record(status.as_u16(), failure.as_ref().map_or(Outcome::Answered, Outcome::Failed));
        response
    }

    fn record(&self, status: u16, outcome: Outcome<'_>) {
        let Info { id, method, path, route, since, misplaced_secret, .. } = &self.info;
        let (took, name) = (since.elapsed(), outcome.name());
        self.front.meters.observe_request(*route, name, took);
        let noise = outcome.noise();
        if !telemetry::admits(noise, SOURCE) {
            return;
        }
        let duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // The text of a library or of a panic may repeat its input.
        let cause = outcome.cause().map(caller_text::words);
        let cause = cause.as_deref();
        macro_rules! line {
            ($level:ident, $target:expr) => {
                tracing::$level!(
                    target: $target,
                    { http.status = status, outcome = name, route, cause, misplaced_secret, duration_us, request.id = id.as_str() },
                    "{method} {path}"
                )
            };
        }
        match noise {
            Noise::Failed => line!(error, ALERT),
            Noise::Refused => line!(info, ALERT),
            _ => line!(info, module_path!()),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.answered {
            // The usual status for this in logs; it is never sent.
            self.record(499, Outcome::Abandoned);
        }
    }
}

/// What came of a request.
#[derive(Debug, Clone, Copy)]
enum Outcome<'a> {
    /// The origin answered, whatever its status.
    Answered,
    /// The app disconnected before, or the drain time was over.
    Abandoned,
    Failed(&'a Failure),
}

impl<'a> Outcome<'a> {
    fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Abandoned => "abandoned",
            Self::Failed(failure) => failure.reason.as_str(),
        }
    }

    fn cause(self) -> Option<&'a str> {
        match self {
            Self::Answered | Self::Abandoned => None,
            Self::Failed(failure) => Some(failure.cause()),
        }
    }

    /// The kind of its log line. The app can cause any number of each.
    fn noise(self) -> Noise {
        match self {
            Self::Answered => Noise::Served,
            Self::Abandoned => Noise::Abandoned,
            Self::Failed(failure) => match failure.reason {
                Reason::NoRoute => Noise::NotFound,
                Reason::PageRefused | Reason::HostRefused | Reason::AuthorizationPresent | Reason::RequestRefused => Noise::Refused,
                Reason::RequestStalled => Noise::Abandoned,
                _ => Noise::Failed,
            },
        }
    }
}
