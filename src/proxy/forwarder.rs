use std::{io, sync::Arc};

use axum::body::{Body, HttpBody};
use http::{Request, Response, StatusCode, Version, request::Parts};
use hyper::body::Incoming;
use hyper_util::client::legacy::{
    self,
    connect::{CaptureConnection, capture_connection},
};
use tokio::sync::Semaphore;

use super::{
    answer,
    body::{Absent, Download, Upload},
    connector::{self, Pool},
    error::{BadRequest, BuildError, ForwardError, chain, find},
    options::{HostField, Options, Protocol},
    origin::Origin,
    pace::{Pace, TimeLimits, Turn},
    request::Prepared,
    reserved::Reserved,
    upgrade,
};

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
    places: Arc<Semaphore>,
}

/// Why an attempt got no answer.
enum Failure {
    /// The connection was lost. Usually the upstream had closed it because it was idle, and has not seen the request.
    Lost(ForwardError),
    Final(ForwardError),
}

impl Forwarder {
    /// For an `https` origin, reads the system's trust roots and blocks for tens of milliseconds.
    pub(crate) fn new(origin: Origin, limits: TimeLimits, options: Options) -> Result<Self, BuildError> {
        let Options { protocol, reserved, extra_ca, concurrent } = options;
        let tls = connector::tls(&origin, extra_ca.as_deref())?;
        let http1 = (origin.is_https() && protocol == Protocol::Negotiated)
            .then(|| connector::pool(&origin, Protocol::Http1(HostField::Origin), limits, tls.clone()));
        let pool = connector::pool(&origin, protocol, limits, tls);
        let places = Arc::new(Semaphore::new(concurrent.min(Semaphore::MAX_PERMITS)));
        Ok(Self(Arc::new(Inner { origin, protocol, limits, reserved, pool, http1, places })))
    }

    /// Forwards a request and returns the head of the answer, whose body follows as it comes. If the returned future or the body is dropped,
    /// the request to the upstream is cancelled.
    ///
    /// An upgraded connection goes on in a task of its own.
    pub(crate) async fn forward(&self, request: Request<Body>) -> Result<Response<Body>, ForwardError> {
        let inner = &*self.0;
        let under_way = Arc::clone(&inner.places).try_acquire_owned().map_err(|_| ForwardError::Full)?;
        let Prepared { parts, body, upgrade } = Prepared::new(request, &inner.origin, inner.protocol, &inner.reserved)?;
        let empty = body.is_end_stream() || body.size_hint().exact() == Some(0);
        let pace = Arc::new(Pace::new(if empty { Turn::Answer } else { Turn::Upstream }));
        let answer = inner.send(parts, body, upgrade.is_some(), &pace).await?;
        let (mut head, body) = answer.into_parts();
        answer::check_size(&head.headers)?;
        let body = if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let asked = upgrade.ok_or_else(upgrade::unexpected)?;
            head = asked.switch(head, inner.limits, under_way)?;
            Body::new(Absent)
        } else {
            answer::clean(&mut head.headers)?;
            if body.is_end_stream() { Body::new(Absent) } else { Body::new(Download::new(body, pace, inner.limits.idle, under_way)) }
        };
        // The version and what else the connection to the upstream left there is not for the caller.
        let mut answer = Response::new(body);
        *answer.status_mut() = head.status;
        *answer.headers_mut() = head.headers;
        Ok(answer)
    }
}

impl Inner {
    async fn send(&self, parts: Parts, body: Body, upgrades: bool, pace: &Arc<Pace>) -> Result<Response<Incoming>, ForwardError> {
        let pool = self.http1.as_ref().filter(|_| upgrades).unwrap_or(&self.pool);
        // RFC 9110 section 9.2.2: a proxy may repeat a request whose method is safe. A body cannot be repeated, because it is not kept.
        let copy = (parts.method.is_safe() && body.is_end_stream()).then(|| parts.clone());
        let attempt = match (self.attempt(pool, parts, body, pace).await, copy) {
            (Err(Failure::Lost(_)), Some(parts)) => self.attempt(pool, parts, Body::empty(), pace).await,
            (attempt, _) => attempt,
        };
        attempt.map_err(|(Failure::Lost(error) | Failure::Final(error))| error)
    }

    async fn attempt(&self, pool: &Pool, parts: Parts, body: Body, pace: &Arc<Pace>) -> Result<Response<Incoming>, Failure> {
        let upload = Upload::new(body, Arc::clone(pace), self.limits.idle, self.reserved.clone());
        let mut request = Request::from_parts(parts, upload);
        let mut connection = capture_connection(&mut request);
        let late = async {
            connected(&mut connection).await;
            pace.go_on();
            pace.overdue(self.limits).await;
        };
        let answer = tokio::select! {
            answer = pool.request(request) => answer.map_err(|error| failure(&error, pace.turn()))?,
            () = late => return Err(Failure::Final(ForwardError::TimedOut)),
        };
        if answer.version() == Version::HTTP_10
            && let Some(connection) = connection.connection_metadata().as_ref()
        {
            // The client would speak HTTP/1.0 on it from now on, in which a body of unknown length cannot be sent: it would send none.
            connection.poison();
        }
        Ok(answer)
    }
}

/// Returns when the request has a connection; never, if none can be had.
async fn connected(connection: &mut CaptureConnection) {
    drop(connection.wait_for_connection_metadata().await);
}

/// What an error of the client says about the upstream and the caller.
fn failure(error: &legacy::Error, turn: Turn) -> Failure {
    match turn {
        Turn::Stalled => return Failure::Final(ForwardError::Stalled),
        Turn::Broken => return Failure::Final(BadRequest::Body.into()),
        Turn::Caller | Turn::Upstream | Turn::Answer => {}
    }
    if error.is_connect() {
        let timed_out = find::<tokio::time::error::Elapsed>(error).is_some()
            || find::<io::Error>(error).is_some_and(|error| error.kind() == io::ErrorKind::TimedOut);
        return Failure::Final(if timed_out { ForwardError::TimedOut } else { ForwardError::Unreachable(chain(error)) });
    }
    let unusable = ForwardError::BadAnswer(chain(error).into());
    match find::<hyper::Error>(error) {
        Some(error) if !error.is_parse() && !error.is_user() => Failure::Lost(unusable),
        _ => Failure::Final(unusable),
    }
}
