use std::{future, io, sync::Arc, time::Duration};

use axum::body::{Body, HttpBody};
use http::{Extensions, Request, Response, StatusCode, Version, request::Parts};
use hyper::body::Incoming;
use hyper_util::client::legacy::{
    self,
    connect::{CaptureConnection, capture_connection},
};

use super::{
    answer,
    body::{Absent, Download, Upload},
    connector::{self, Pool},
    error::{BadRequest, BuildError, ForwardError, chain, find},
    limits::TimeLimits,
    options::{HostField, Options, Protocol},
    origin::Origin,
    relay::Relay,
    request::Prepared,
    reserved::Reserved,
    slots::{Slot, Slots},
    stream::Answered,
    terms::Terms,
    transfer::{End, Turn},
    upgrade,
};
use crate::clock::Stopwatch;

/// Forwards requests to one origin. Clones share its connections.
#[derive(Debug, Clone)]
pub(crate) struct Forwarder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    origin: Origin,
    protocol: Protocol,
    limits: TimeLimits,
    reserved: Reserved,
    pool: Pool,
    /// For requests that ask for an upgrade, if the connections of `pool` may be HTTP/2.
    http1: Option<Pool>,
    slots: Slots,
}

/// Why an attempt got no answer.
enum Failure {
    /// A connection that had been used before was lost. Usually the upstream had closed it because it was idle, and has not seen the request.
    Lost(ForwardError),
    Final(ForwardError),
}

impl Forwarder {
    /// For an `https` origin, reads the system's trust roots and blocks for tens of milliseconds.
    pub(crate) fn new(origin: Origin, limits: TimeLimits, options: Options) -> Result<Self, BuildError> {
        let protocol = options.protocol;
        let tls = connector::tls(&origin, options.extra_ca.as_deref())?;
        let http1 = (origin.is_https() && protocol == Protocol::Negotiated)
            .then(|| connector::pool(&origin, Protocol::Http1(HostField::Origin), &options, limits, tls.clone()));
        let pool = connector::pool(&origin, protocol, &options, limits, tls);
        let slots = Slots::new(options.concurrent);
        Ok(Self(Arc::new(Inner { origin, protocol, limits, reserved: options.reserved, pool, http1, slots })))
    }

    /// Forwards a request and returns the head of the answer, whose body follows as it comes. If the returned future or the body is dropped,
    /// the request to the upstream is cancelled.
    ///
    /// An upgraded connection goes on in a task of its own.
    pub(crate) async fn forward(&self, request: Request<Body>) -> Result<Response<Body>, ForwardError> {
        self.forward_on(request, Terms::default()).await
    }

    /// The same, on these terms.
    pub(crate) async fn forward_on(&self, request: Request<Body>, terms: Terms) -> Result<Response<Body>, ForwardError> {
        let inner = &*self.0;
        let slot = inner.slots.take(terms.source).ok_or(ForwardError::Full)?;
        let Prepared { parts, body, upgrade } = Prepared::new(request, &inner.origin, inner.protocol, &inner.reserved)?;
        let (answer, relay) = inner.send(parts, body, upgrade.is_some(), &slot).await?;
        let (mut head, body) = answer.into_parts();
        let body = if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let asked = upgrade.ok_or_else(upgrade::unexpected)?;
            head = asked.switch(head, inner.limits, slot, terms.until)?;
            Body::new(Absent)
        } else {
            answer::clean(&mut head);
            inner.follow(relay, body, slot)
        };
        // The version and what else the connection to the upstream left there is not for the caller.
        let mut answer = Response::new(body);
        *answer.status_mut() = head.status;
        *answer.headers_mut() = head.headers;
        Ok(answer)
    }
}

impl Inner {
    async fn send(&self, parts: Parts, body: Body, upgrades: bool, slot: &Slot) -> Result<(Response<Incoming>, Arc<Relay>), ForwardError> {
        let pool = self.http1.as_ref().filter(|_| upgrades).unwrap_or(&self.pool);
        // RFC 9110 section 9.2.2: a proxy may repeat a request whose method is safe. A body cannot be repeated, because it is not kept.
        let copy = (parts.method.is_safe() && body.is_end_stream()).then(|| parts.clone());
        let since = Stopwatch::start();
        let attempt = match (self.attempt(pool, parts, body, slot, Duration::MAX).await, copy) {
            (Err(Failure::Lost(_)), Some(parts)) => {
                let left = self.limits.left_after(since.elapsed());
                self.attempt(pool, parts, Body::empty(), slot, left).await
            }
            (attempt, _) => attempt,
        };
        attempt.map_err(|(Failure::Lost(error) | Failure::Final(error))| error)
    }

    /// Sends a request. The head of the answer must be there in the time that is `left`, whatever the other limits say.
    async fn attempt(
        &self,
        pool: &Pool,
        parts: Parts,
        body: Body,
        slot: &Slot,
        left: Duration,
    ) -> Result<(Response<Incoming>, Arc<Relay>), Failure> {
        let relay = Arc::new(Relay::new(body, slot.clone()));
        let mut request = Request::from_parts(parts, Upload(Arc::clone(&relay)));
        let mut connection = capture_connection(&mut request);
        let late = async {
            // A connection may also be waited for that another request makes.
            match tokio::time::timeout(self.limits.connect, connected(&mut connection)).await {
                Ok(()) => relay.late(self.limits).await,
                Err(_) => ForwardError::TimedOut,
            }
        };
        let late = async { tokio::time::timeout(left, late).await.unwrap_or(ForwardError::TimedOut) };
        let answered = tokio::select! {
            answer = pool.request(request) => Ok(answer),
            error = late => Err(error),
        };
        let answer = match answered {
            Ok(answer) => answer.map_err(|error| failure(&error, relay.request.progress().0, has_answered(&connection)))?,
            Err(error) => {
                if error == ForwardError::TimedOut {
                    // Over HTTP/2, others would wait on it as well.
                    retire(&connection);
                }
                return Err(Failure::Final(error));
            }
        };
        if let Some(answered) = answer.extensions().get::<Answered>() {
            answered.note();
        }
        if answer.version() == Version::HTTP_10 {
            // The client would speak HTTP/1.0 on it from now on, in which a body of unknown length cannot be sent: it would send none.
            retire(&connection);
        }
        if let Err(error) = answer::check(answer.status(), answer.headers()) {
            if answer.version() < Version::HTTP_2 {
                // What another program reads behind its end would be taken for the answer to the next request.
                retire(&connection);
            }
            return Err(Failure::Final(error));
        }
        if relay.request.progress().0 == Turn::Over(End::Unread) {
            // A request may have got the connection before it was retired.
            return Err(Failure::Final(ForwardError::BadAnswer("it is for a request without a body: the upstream speaks HTTP/1.0".into())));
        }
        Ok((answer, relay))
    }

    /// The body of the answer for the caller. The slot is taken until both bodies are over.
    fn follow(&self, relay: Arc<Relay>, body: Incoming, slot: Slot) -> Body {
        let body = if body.is_end_stream() {
            relay.answer.end(End::Done);
            Body::new(Absent)
        } else {
            relay.answer.set(body, slot);
            relay.answer.begin();
            Body::new(Download(Arc::clone(&relay)))
        };
        relay.watch(self.limits);
        body
    }
}

/// Returns when the request has a connection; never, if none can be had.
async fn connected(connection: &mut CaptureConnection) {
    let none = connection.wait_for_connection_metadata().await.is_none();
    if none {
        future::pending().await
    }
}

/// Keeps a connection from being used for further requests.
fn retire(connection: &CaptureConnection) {
    if let Some(connection) = connection.connection_metadata().as_ref() {
        connection.poison();
    }
}

/// Whether the upstream had answered on the connection of a request before.
fn has_answered(connection: &CaptureConnection) -> bool {
    let mut extras = Extensions::new();
    if let Some(connection) = connection.connection_metadata().as_ref() {
        connection.get_extras(&mut extras);
    }
    extras.get::<Answered>().is_some_and(Answered::get)
}

/// What an error of the client says about the upstream and the caller. `used` says whether the connection had been used before.
fn failure(error: &legacy::Error, request: Turn, used: bool) -> Failure {
    if request == Turn::Over(End::Broken) {
        return Failure::Final(BadRequest::Body.into());
    }
    let timed_out = find::<tokio::time::error::Elapsed>(error).is_some()
        || find::<io::Error>(error).is_some_and(|error| error.kind() == io::ErrorKind::TimedOut);
    if timed_out {
        return Failure::Final(ForwardError::TimedOut);
    }
    if error.is_connect() {
        return Failure::Final(ForwardError::Unreachable(chain(error)));
    }
    let unusable = ForwardError::BadAnswer(chain(error).into());
    match find::<hyper::Error>(error) {
        Some(error) if is_unprocessed(error) || used && is_loss(error) => Failure::Lost(unusable),
        _ => Failure::Final(unusable),
    }
}

/// Whether the upstream says that it has not looked at the request, as it does over HTTP/2 if more streams are opened than it permits
/// (RFC 9113 section 8.7). That holds on a new connection, too.
fn is_unprocessed(error: &hyper::Error) -> bool {
    find::<h2::Error>(error)
        .is_some_and(|error| error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM)))
}

/// Whether an error says that the connection has ended, and not that the answer is invalid.
fn is_loss(error: &hyper::Error) -> bool {
    match find::<h2::Error>(error) {
        Some(error) => error.is_io(),
        None => !error.is_parse() && !error.is_user(),
    }
}
