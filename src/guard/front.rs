//! Every request passes here: it gets an id and a span, is decided about, answered or forwarded, counted and logged.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::Response,
};
use tracing::Instrument;

use super::{
    gate::Gate,
    gateway::{Asked, Gateway, Undescribed},
    meters::{ABANDONED, ALLOWED, Meters, PUBLIC},
    refusal::Refusal,
    token_headers::TokenHeaders,
    unread::discard,
    upstream::Upstream,
};
use crate::{
    clock::{Stopwatch, Timestamp},
    server::{
        caller_text,
        edge::{Charge, MemoryBudget, Peer, Stopping, TrustedProxies},
        process::{NoAnswer, RequestId, Unread, announce_last, answer_or_panic, known_method, why_abandoned},
        telemetry::{self, ALERT, Noise},
    },
    verifier::Claims,
};

/// Time limit for a decision, with waiting for the issuer.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// What handles requests.
#[derive(Debug)]
pub(super) struct App {
    pub(super) gate: Gate,
    pub(super) mode: Mode,
    pub(super) headers: TokenHeaders,
    /// The URL of the API's metadata (RFC 9728), for challenges.
    pub(super) resource_metadata: Option<Arc<str>>,
    pub(super) proxies: Arc<TrustedProxies>,
    pub(super) meters: Meters,
    pub(super) stopping: Stopping,
}

/// What the guard does with a decision.
#[derive(Debug)]
pub(super) enum Mode {
    /// It answers a gateway.
    Gateway(Gateway),
    /// It forwards what it admits.
    Upstream(Upstream),
}

impl Mode {
    /// The request that is decided about.
    fn asked(&self, parts: &mut Parts) -> Result<Asked, Undescribed> {
        match self {
            Self::Gateway(gateway) => gateway.asked(parts),
            Self::Upstream(_) => {
                let query = parts.uri.query().map(str::to_owned);
                Ok(Asked { method: parts.method.clone(), path: parts.uri.path().to_owned(), query })
            }
        }
    }

    /// Its name in the log and in traces.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Gateway(gateway) => gateway.name(),
            Self::Upstream(_) => "upstream",
        }
    }
}

/// Serves a request.
pub(super) async fn serve(State(app): State<Arc<App>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let version = parts.version;
    let asked = app.mode.asked(&mut parts);
    let peer = parts.extensions.get::<Peer>().cloned();
    let address = peer.as_ref().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.address);
    let info = Info::new(&parts, asked.as_ref().ok(), app.proxies.source(address, &parts.headers));
    let span = telemetry::request_span(info.id.as_str(), info.source);
    telemetry::continue_trace(&span, &parts.headers, info.method, app.mode.name());
    let pending = Pending { app: Arc::clone(&app), info, note: Mutex::default(), open: true };

    let answering = app.answer(asked, parts, body, peer, &pending);
    // Each step has its own time limit.
    let answer = answer_or_panic(answering).instrument(span.clone()).await.map_err(NoAnswer::Panicked);
    let (mut response, outcome) = match answer.map_err(Refusal::from).flatten() {
        Ok((response, outcome)) => (response, End { outcome, cause: None, noise: (outcome == PUBLIC).then_some(Noise::Served) }),
        Err(refusal) => app.refuse(refusal, &pending.info),
    };
    let headers = response.headers_mut();
    pending.info.id.put_into(headers);
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        announce_last(response.headers_mut(), version, &app.stopping);
    }
    let status = response.status().as_u16();
    telemetry::end_trace(&span, status, pending.note().client.as_deref());
    pending.end(status, outcome);
    response
}

impl App {
    /// The answer of the guard or of the API, and the outcome.
    async fn answer(
        &self,
        asked: Result<Asked, Undescribed>,
        mut parts: Parts,
        body: Body,
        peer: Option<Peer>,
        pending: &Pending,
    ) -> Result<(Response, &'static str), Refusal> {
        let asked = asked?;
        let (body, unread) = Unread::new(body, &parts);
        let mut charge = match charge(&parts, peer.as_ref(), pending.info.source) {
            Ok(charge) => Some(charge),
            Err(refusal) => {
                discard(&unread, &refusal, None).await;
                return Err(refusal);
            }
        };
        let since = Stopwatch::start();
        let admitting = tokio::time::timeout(TIME_LIMIT, self.gate.admit(&asked, &parts.headers));
        let admitted = admitting.await.unwrap_or(Err(Refusal::NoAnswer(NoAnswer::TookTooLong)));
        self.meters.decided(since.elapsed());
        match &admitted {
            Ok(claims) => pending.identify(claims.as_ref()),
            Err(refusal) => pending.identify(refusal.claims()),
        }
        let outcome = if matches!(admitted, Ok(None)) { PUBLIC } else { ALLOWED };
        let response = match (&self.mode, admitted) {
            // A check has no body that matters.
            (Mode::Gateway(_), admitted) => return Ok((self.allow(admitted?.as_ref(), &parts)?, outcome)),
            (Mode::Upstream(upstream), Ok(claims)) => {
                let address = peer.map_or(pending.info.source, |peer| peer.address);
                upstream.prepare(&mut parts, address, self.proxies.trust(address.to_canonical()));
                pending.info.id.put_into(&mut parts.headers);
                telemetry::pass_on_trace(&mut parts.headers);
                self.pass_on(upstream, claims.as_ref(), Request::from_parts(parts, body), pending.info.source, &mut charge).await
            }
            (Mode::Upstream(_), Err(refusal)) => Err(refusal),
        };
        match response {
            Ok(response) => Ok((response, outcome)),
            Err(refusal) => {
                discard(&unread, &refusal, charge.as_ref()).await;
                Err(refusal)
            }
        }
    }

    /// Forwards an admitted request. Its memory is charged until it is that of a known caller.
    async fn pass_on(
        &self,
        upstream: &Upstream,
        claims: Option<&Claims>,
        request: Request,
        source: IpAddr,
        charge: &mut Option<Charge>,
    ) -> Result<Response, Refusal> {
        let (mut parts, body) = request.into_parts();
        if let Some(claims) = claims {
            self.headers.set(claims, &mut parts.headers)?;
            drop(charge.take());
            let until = Timestamp::from_seconds(claims.accepted_until());
            return self.forward(upstream, parts, body, source, Some(until)).await;
        }
        let forwarding = self.forward(upstream, parts, body, source, None);
        let Some(charge) = charge else { return forwarding.await };
        // A stranger that holds back its body gives way when the memory is needed.
        let wait = charge.wait();
        tokio::select! {
            response = forwarding => response,
            () = wait.evicted() => Err(Refusal::Exhausted),
        }
    }

    /// The answer that makes a gateway pass on the request with these `parts`. Without claims, its headers are there and empty, so that they
    /// replace those of the caller.
    fn allow(&self, claims: Option<&Claims>, parts: &Parts) -> Result<Response, Refusal> {
        let mut answer = Response::new(Body::empty());
        let headers = answer.headers_mut();
        match claims {
            Some(claims) => self.headers.set(claims, headers)?,
            None => self.headers.set_empty(headers),
        }
        self.headers.refuse_copies(&parts.headers, headers)?;
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(answer)
    }

    async fn forward(
        &self,
        upstream: &Upstream,
        parts: Parts,
        body: Body,
        source: IpAddr,
        until: Option<Timestamp>,
    ) -> Result<Response, Refusal> {
        if let Some(peer) = parts.extensions.get::<Peer>() {
            peer.begin_stream();
        }
        let since = Stopwatch::start();
        let answer = upstream.forward(parts, body, source, until).await;
        self.meters.answered(since.elapsed());
        Ok(answer?)
    }

    /// The answer to a refused request.
    fn refuse(&self, refusal: Refusal, info: &Info) -> (Response, End) {
        let end = End { outcome: refusal.code(), cause: Some(refusal.cause()), noise: Some(refusal.noise()) };
        let mut response = refusal.into_answer(info.id.as_str(), self.resource_metadata.as_ref());
        if let Mode::Gateway(gateway) = &self.mode {
            *response.status_mut() = gateway.adapt(response.status(), response.headers_mut());
        }
        (response, end)
    }
}

/// Charges a request to its source, until it is known who calls.
fn charge(parts: &Parts, peer: Option<&Peer>, source: IpAddr) -> Result<Charge, Refusal> {
    let share = match peer {
        Some(peer) => peer.share_of(source),
        // There is no connection (in a test), so there is no shared budget.
        None => MemoryBudget::new(usize::MAX, Default::default()).share(source),
    };
    Ok(Charge::request(share, &parts.headers)?)
}

/// What is known of a request when it arrives, for the log. Its texts are safe there.
#[derive(Debug)]
struct Info {
    id: RequestId,
    method: &'static str,
    path: String,
    source: IpAddr,
    since: Stopwatch,
    /// The part of the request that contains a secret.
    misplaced_secret: Option<&'static str>,
}

impl Info {
    /// `asked` is `None` if the check does not say what it is about.
    fn new(parts: &Parts, asked: Option<&Asked>, source: IpAddr) -> Self {
        let (id, secret_in_id) = RequestId::of(&parts.headers);
        let (path, secret_in_path) = asked.map_or_else(|| ("-".to_owned(), false), |asked| caller_text::path(&asked.path));
        let query = asked.and_then(|asked| asked.query.as_deref());
        let misplaced = [(secret_in_path, "path"), (query.is_some_and(caller_text::holds_secret), "query"), (secret_in_id, "X-Request-Id")];
        Self {
            id,
            method: asked.map_or("-", |asked| known_method(&asked.method)),
            path,
            source,
            since: Stopwatch::start(),
            misplaced_secret: misplaced.into_iter().find_map(|(found, place)| found.then_some(place)),
        }
    }
}

/// The caller of a request, by its token.
#[derive(Debug, Clone, Default)]
struct Note {
    client: Option<String>,
    user: Option<String>,
}

/// How a request ended.
#[derive(Debug)]
struct End {
    outcome: &'static str,
    cause: Option<String>,
    /// The kind of its log line, if callers without a token can cause it at will.
    noise: Option<Noise>,
}

/// A request without an answer. If it is dropped because its connection was closed, it is counted and logged nevertheless.
#[derive(Debug)]
struct Pending {
    app: Arc<App>,
    info: Info,
    note: Mutex<Note>,
    open: bool,
}

impl Pending {
    /// Notes the caller. An issuer chooses these texts, not the caller; they are cut, because a claim may be long.
    fn identify(&self, claims: Option<&Claims>) {
        const LIMIT: usize = 200;
        let Some(claims) = claims else { return };
        let cut = |text: &str| caller_text::printable(&text.chars().take(LIMIT).collect::<String>()).into_owned();
        let note = Note { client: Some(cut(claims.client_id())), user: claims.is_for_user().then(|| cut(claims.subject())) };
        *self.note.lock().unwrap_or_else(PoisonError::into_inner) = note;
    }

    fn note(&self) -> Note {
        self.note.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn end(mut self, status: u16, end: End) {
        self.open = false;
        self.record(status, &end);
    }

    fn record(&self, status: u16, end: &End) {
        self.app.meters.ended(end.outcome);
        if end.noise.is_some_and(|noise| !telemetry::admits(noise, self.info.source)) {
            return;
        }
        let Info { id, method, path, source, since, misplaced_secret } = &self.info;
        let Note { client, user } = self.note();
        let (client, user, cause, misplaced_secret) = (client.as_deref(), user.as_deref(), end.cause.as_deref(), *misplaced_secret);
        let duration_us = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        let (event, outcome) = match end.noise {
            None | Some(Noise::Served) => ("request.allowed", "ok"),
            Some(Noise::Abandoned) => ("request.abandoned", "abandoned"),
            Some(Noise::Failed) => ("request.failed", "failed"),
            Some(_) => ("request.refused", "refused"),
        };
        macro_rules! line {
            ($level:ident, $target:expr) => {
                tracing::$level!(
                    target: $target,
                    {
                        http.status = status,
                        outcome,
                        event,
                        reason = end.outcome,
                        user.id = user,
                        client.id = client,
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
        match end.noise {
            Some(Noise::Failed) => line!(error, ALERT),
            _ => line!(info, module_path!()),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.open {
            let cause = Some(why_abandoned(&self.app.stopping).to_owned());
            // The usual status for this in logs; it is never sent.
            self.record(499, &End { outcome: ABANDONED, cause, noise: Some(Noise::Abandoned) });
        }
    }
}
