//! Forwards HTTP requests to one origin, as a stream: bodies, trailers, server-sent events and upgraded connections such as WebSocket pass
//! as they come, and a slow reader slows its sender. It knows neither tokens nor rules: the room that uses it decides what is forwarded,
//! and adds the fields that it vouches for.
//!
//! A request passes if the upstream must read it as this program does. What two programs read differently is refused: a request whose
//! length is ambiguous (RFC 9112 section 11.2), one with two hosts, and one whose `Connection` names a field that is for the upstream.
//! A `Content-Length` beside `Transfer-Encoding` is an exception: the server of this program removes it before this room sees it, reads the
//! body as chunked, and closes the connection after the answer, as RFC 9112 section 6.3 permits. The upstream gets the chunked body alone.
//!
//! What the user of this room does itself: it removes its [`Reserved`] fields from a request before it sets them; it sets `X-Forwarded-For`,
//! `X-Forwarded-Proto` and `X-Forwarded-Host`, because it knows which proxies it trusts; and it says in [`Terms`] where a request comes from,
//! and until when a connection may stay upgraded.
//!
//! A request is under way until both bodies are over, or for as long as its connection is upgraded. Neither a caller nor an upstream that
//! stops reading or sending keeps it so for longer than [`TimeLimits`] say; one that does either slowly does, within its source's share.
//!
//! Limits, which this room does not hide:
//!
//! - Of the trailers of a request, those pass that describe its body: `Content-Digest`, checksums and the like.
//! - Over HTTP/1.1, trailers reach a caller or an upstream only if the message announces them in `Trailer`, and a caller only if it sent
//!   `TE: trailers` (RFC 9110 section 6.5.1). Where TLS negotiates the version of HTTP, `TE` is sent without `Connection: te`, because the
//!   version is not known by then.
//! - Interim answers (1xx) other than 101 end here, and `Expect: 100-continue` is answered by the connection to the caller, once the upstream
//!   is connected and its body is asked for.
//! - Connections are upgraded to WebSocket and nothing else, over HTTP/1.1 (RFC 6455), not over HTTP/2 (RFC 8441).
//! - All requests to an HTTP/2 upstream share one connection. One that gets no stream of it within the time for a connection is
//!   [`ForwardError::Full`].
//! - A field whose name another program may read as one that this room knows, such as `Content_Length`, is refused in a request and removed
//!   from an answer.

// No crate does this. `axum-reverse-proxy` 1.3 drops trailers, ends a WebSocket and begins another one, reads only the first line of
// `Connection`, copies fields of the request into the answer, and has no time limits; `hyper-reverse-proxy` uses hyper 0.14 and has not
// changed since 2022; pingora brings a server, a configuration and a TLS library of its own. So it is hyper's client, with rules on top.

mod answer;
mod body;
mod connector;
mod error;
mod fields;
mod forwarder;
mod limits;
mod options;
mod origin;
mod relay;
mod request;
mod reserved;
mod resolver;
mod slots;
mod stream;
mod terms;
mod transfer;
mod upgrade;

pub(crate) use error::{BuildError, ForwardError};
pub(crate) use forwarder::Forwarder;
pub(crate) use limits::TimeLimits;
pub(crate) use options::{HostField, Options, Protocol};
pub(crate) use origin::Origin;
pub(crate) use reserved::Reserved;
pub(crate) use terms::Terms;

#[cfg(test)]
mod tests;
