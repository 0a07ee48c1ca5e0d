//! The layer that every request and every response passes through: request id, span, time limit, log line.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tracing::Instrument;

use super::{
    App,
    error::Failure,
    events::{Endpoint, Outcome},
    note::{Note, RequestNote, RequestPart},
};
use crate::{
    clock::Stopwatch,
    protocol::GrantType,
    server::{
        caller_text,
        edge::{Peer, TrustedProxies},
        meters::TokenRequest,
        process::{NoAnswer, RequestId, announce_last, answer_within, known_method, why_abandoned},
        telemetry::{self, ALERT, Noise},
    },
};

/// Time limit for a request, including the arrival of its body.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// The properties of a request that are known when it arrives, for the log and the metrics.
struct RequestInfo {
    id: RequestId,
    method: &'static str,
    /// Safe to log.
    path: String,
    /// The registered route, so that callers cannot create metric labels.
    route: String,
    endpoint: Option<Endpoint>,
    source: IpAddr,
    since: Stopwatch,
    /// The part of the request head that contains a secret.
    misplaced_secret: Option<RequestPart>,
}

impl RequestInfo {
    fn new(request: &Request, proxies: &TrustedProxies, endpoint: Option<Endpoint>) -> Self {
        let peer = request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.address);
        let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let path = request.uri().path();
        let (path, secret_in_path) = match route {
            // A path that equals a route needs no redaction.
            Some(route) if route == path => (path.to_owned(), false),
            // The id of a status list is as random as a secret, and shown by neither.
            Some(route) if route.ends_with("/{id}") && !caller_text::holds_secret(path) => (route.to_owned(), false),
            _ => caller_text::path(path),
        };
        let (id, secret_in_id) = RequestId::of(request.headers());
        let misplaced = [
            (secret_in_path, RequestPart::Path),
            (request.uri().query().is_some_and(caller_text::holds_secret), RequestPart::Query),
            (secret_in_id, RequestPart::RequestId),
        ];
        Self {
            id,
            method: known_method(request.method()),
            path,
            route: route.unwrap_or("none").to_owned(),
            endpoint,
            source: proxies.source(peer, request.headers()),
            since: Stopwatch::start(),
            misplaced_secret: misplaced.into_iter().find_map(|(found, place)| found.then_some(place)),
        }
    }
}

/// The routes that share this layer.
#[derive(Debug, Clone)]
pub(super) struct Front {
    pub(super) app: Arc<App>,
    /// The endpoint that they are, if their requests are security events.
    pub(super) endpoint: Option<Endpoint>,
}

pub(super) async fn front(State(Front { app, endpoint }): State<Front>, mut request: Request, next: Next) -> Response {
    let info = RequestInfo::new(&request, &app.proxies, endpoint);
    let note = RequestNote::new(info.source);
    request.extensions_mut().insert(note.clone());
    let span = telemetry::request_span(info.id.as_str(), info.source);
    telemetry::continue_trace(&span, request.headers(), info.method, &info.route);
    let version = request.version();
    let pending = PendingRequest { app: Arc::clone(&app), info: Some(info), note };

    let answer = answer_within(TIME_LIMIT, next.run(request)).instrument(span.clone()).await;
    let mut response = match answer {
        Ok(response) => response,
        Err(NoAnswer::TookTooLong) => Failure::unavailable("the request took too long".to_owned()).into_response(),
        Err(NoAnswer::Panicked(text)) => Failure::broken(format!("panic: {text}")).into_response(),
    };
    let (info, mut note) = pending.finish();
    let (mut outcome, mut result) = (Outcome::of_answer(response.status().as_u16()), "ok");
    if let Some(mut failure) = response.extensions_mut().remove::<Failure>() {
        (outcome, result) = (failure.outcome(), failure.result());
        note.cause = Some(failure.take_cause());
        response = failure.render(info.id.as_str());
    }
    let headers = response.headers_mut();
    if !headers.contains_key(header::CACHE_CONTROL) {
        // RFC 6749 section 5.1 requires both.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    }
    info.id.put_into(headers);
    announce_last(headers, version, &app.stopping);
    let status = response.status().as_u16();
    telemetry::end_trace(&span, status, note.client.as_deref());
    record(&app, &info, outcome, status, result, &note);
    response
}

/// A request without an answer. If it is dropped because its connection was closed, it is counted and logged nevertheless: its effects (a
/// hash, a failed attempt, a login) may have happened.
struct PendingRequest {
    app: Arc<App>,
    info: Option<RequestInfo>,
    note: RequestNote,
}

impl PendingRequest {
    fn finish(mut self) -> (RequestInfo, Note) {
        (self.info.take().expect("it is finished once"), self.note.take())
    }
}

impl Drop for PendingRequest {
    fn drop(&mut self) {
        if let Some(info) = &self.info {
            let mut note = self.note.take();
            // Without the refusal, the line would look like that of an authenticated client.
            note.cause = Some(match note.cause.take() {
                Some(refusal) => format!("{} after a refusal: {}", why_abandoned(&self.app.stopping), caller_text::words(&refusal)),
                None => why_abandoned(&self.app.stopping).to_owned(),
            });
            // The usual status for this in logs; it is never sent.
            record(&self.app, info, Outcome::Abandoned, 499, "abandoned", &note);
        }
    }
}

/// Counts a request and writes its log line.
fn record(app: &App, info: &RequestInfo, outcome: Outcome, status: u16, result: &'static str, note: &Note) {
    app.meters.observe_request(&info.route, status, info.since.elapsed());
    if info.endpoint == Some(Endpoint::Token) {
        let grant = note.grant.map_or("none", GrantType::as_str);
        app.meters.token_requests.get_or_create(&TokenRequest { grant, result }).inc();
    }
    log(info, outcome, status, note);
}

/// Writes one line per request: client, outcome, duration. Lines that unauthenticated callers can cause at will are sampled when there are
/// too many.
fn log(info: &RequestInfo, outcome: Outcome, status: u16, note: &Note) {
    let RequestInfo { id, method, path, route: _, endpoint, source, since, misplaced_secret } = info;
    let (event, noise) = (endpoint.map(|endpoint| endpoint.event(outcome)), outcome.noise(*endpoint));
    if noise.is_some_and(|noise| !telemetry::admits(noise, *source)) {
        return;
    }
    let duration_us = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
    let (client, user) = (note.client.as_deref(), note.user.as_deref());
    let misplaced_secret = note.misplaced_secret.or(*misplaced_secret).map(RequestPart::as_str);
    let grant = note.grant.map(GrantType::as_str);
    let address = note.user_address.as_ref().map(tracing::field::display);
    // The text of a library or of a panic may repeat its input.
    let cause = note
        .cause
        .as_deref()
        .map(|cause| if outcome == Outcome::Failed { Cow::Owned(caller_text::words(cause)) } else { Cow::Borrowed(cause) });
    let cause = cause.as_deref();
    let outcome = outcome.as_str();
    macro_rules! line {
        ($level:ident, $target:expr) => {
            tracing::$level!(
                target: $target,
                {
                    http.status = status,
                    outcome,
                    event,
                    user.id = user,
                    user.address = address,
                    client.id = client,
                    grant,
                    cause,
                    misplaced_secret,
                    %source,
                    duration_us,
                    request.id = id.as_str(),
                },
                "{method} {path}"
            )
        };
    }
    match noise {
        Some(Noise::Failed) => line!(error, ALERT),
        Some(Noise::Limited) => line!(info, ALERT),
        _ => line!(info, module_path!()),
    }
}
