//! Makes the request to the upstream out of that of the caller, or refuses it.

use axum::body::{Body, HttpBody};
use http::{
    Extensions, HeaderValue, Method, Request, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, MAX_FORWARDS, TE, TRANSFER_ENCODING, UPGRADE, VIA},
    request::Parts,
    uri::{Authority, Scheme},
};

use super::{
    error::BadRequest,
    fields::{self, Ambiguous},
    options::Protocol,
    origin::Origin,
    reserved::Reserved,
    upgrade::{Asked, WEBSOCKET},
};

/// The name of this program in `Via`.
const PSEUDONYM: &str = "sealwright";
/// How often a request may have passed this program. A circle of forwarders would otherwise occupy all of them.
const MAX_PASSES: usize = 8;

/// A request as the upstream gets it.
pub(super) struct Prepared {
    pub(super) parts: Parts,
    pub(super) body: Body,
    /// The upgrade that it asks for.
    pub(super) upgrade: Option<Asked>,
}

impl Prepared {
    pub(super) fn new(request: Request<Body>, origin: &Origin, protocol: Protocol, reserved: &Reserved) -> Result<Self, BadRequest> {
        let (mut parts, body) = request.into_parts();
        // TRACE would show its caller the fields that the user of this room adds (RFC 9110 section 9.3.8).
        if parts.method == Method::CONNECT || parts.method == Method::TRACE {
            return Err(BadRequest::Method);
        }
        // The upstream could read them as what was refused, removed or set here.
        if parts.headers.keys().any(fields::is_disguised) {
            return Err(BadRequest::Spelling);
        }
        let host = host(&parts)?;
        let uri = target(&parts, origin)?;
        let known_length = length(&parts, &body)?;
        let named = fields::named_by_caller(&parts.headers, reserved)?;
        let upgrade = Asked::take(&mut parts, &named, &body).filter(|_| protocol.upgrades());
        let trailers = parts.headers.get_all(TE).iter().any(takes_trailers);
        fields::remove_hop_by_hop(&mut parts.headers, &named);
        // The connection to the caller answers it.
        parts.headers.remove(EXPECT);
        forward_once_less(&mut parts)?;
        add_via(&mut parts)?;
        join_cookies(&mut parts);
        set_length(&mut parts, &body, known_length, protocol);
        set_host(&mut parts, host, protocol);
        // Whether it is sent over HTTP/1.1 in any case. If TLS negotiates the protocol, requests that ask for an upgrade are.
        let is_http1 = match protocol {
            Protocol::Http1(_) => true,
            Protocol::Negotiated => !origin.is_https() || upgrade.is_some(),
            Protocol::Http2 => false,
        };
        // RFC 9110 section 10.1.4 wants `te` in HTTP/1.1. Where the protocol is not known yet, it is left out: in HTTP/2 it is invalid.
        let connection = match (trailers && is_http1, upgrade.is_some()) {
            (true, true) => Some("te, upgrade"),
            (true, false) => Some("te"),
            (false, true) => Some("upgrade"),
            (false, false) => None,
        };
        if let Some(options) = connection {
            parts.headers.insert(CONNECTION, HeaderValue::from_static(options));
        }
        if trailers {
            parts.headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        if upgrade.is_some() {
            parts.headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
        }
        parts.uri = uri;
        parts.version = Version::HTTP_11;
        // They are about the connection to the caller.
        parts.extensions = Extensions::new();
        Ok(Self { parts, body, upgrade })
    }
}

/// The host that a request names. HTTP/1.1 requires the field, also beside a target that names a host (RFC 9112 section 3.2); if both do, they
/// must not differ: the upstream would get one, and a rule may have looked at the other (RFC 9113 section 8.3.1).
fn host(parts: &Parts) -> Result<Option<HeaderValue>, BadRequest> {
    let field = fields::only(&parts.headers, &HOST).map_err(|_| BadRequest::Host)?;
    let authority = parts.uri.authority().map(Authority::as_str);
    if let (Some(field), Some(authority)) = (field, authority)
        && !field.as_bytes().eq_ignore_ascii_case(authority.as_bytes())
    {
        return Err(BadRequest::Host);
    }
    let host = match (field, authority) {
        (Some(field), _) => field.clone(),
        (None, _) if parts.version == Version::HTTP_11 => return Err(BadRequest::Host),
        (None, Some(authority)) => HeaderValue::from_str(authority).map_err(|_| BadRequest::Host)?,
        (None, None) if parts.version < Version::HTTP_11 => return Ok(None),
        (None, None) => return Err(BadRequest::Host),
    };
    let valid = Authority::try_from(host.as_bytes()).is_ok_and(|host| !host.as_str().contains('@') && !host.host().is_empty());
    if valid { Ok(Some(host)) } else { Err(BadRequest::Host) }
}

/// The path and the query of a request, at the upstream. The host of an absolute URI does not choose the upstream.
fn target(parts: &Parts, origin: &Origin) -> Result<Uri, BadRequest> {
    if parts.uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
        return Err(BadRequest::Target);
    }
    let path = parts.uri.path_and_query().ok_or(BadRequest::Target)?;
    // HTTP/2 carries the path apart from the host, so it may begin with anything.
    let is_of_server = path.as_str() == "*" && parts.method == Method::OPTIONS;
    if !path.as_str().starts_with('/') && !is_of_server {
        return Err(BadRequest::Target);
    }
    // In an OPTIONS, an absolute URI without a path means `*` (RFC 9112 section 3.2.4). `Uri` does not tell it from one with `/`, which is what
    // a rule about paths has seen. HTTP/2 says which of the two is meant.
    let is_absolute = parts.version < Version::HTTP_2 && parts.uri.authority().is_some();
    if parts.method == Method::OPTIONS && is_absolute && path.as_str() == "/" {
        return Err(BadRequest::Target);
    }
    origin.at(path.clone()).map_err(|_| BadRequest::Target)
}

/// The length of the body, if it is known. `Content-Length` must not say anything else.
fn length(parts: &Parts, body: &Body) -> Result<Option<u64>, BadRequest> {
    let claimed = fields::content_length(&parts.headers).map_err(|ambiguous| match ambiguous {
        Ambiguous::Length => BadRequest::Length,
        Ambiguous::TransferEncoding => BadRequest::TransferEncoding,
    })?;
    let known = if body.is_end_stream() { Some(0) } else { body.size_hint().exact() };
    if claimed.zip(known).is_some_and(|(claimed, known)| claimed != known) { Err(BadRequest::Length) } else { Ok(known) }
}

/// How the upstream finds the end of the body.
fn set_length(parts: &mut Parts, body: &Body, known: Option<u64>, protocol: Protocol) {
    match known {
        // Without it, some servers answer 411.
        Some(0) if body.is_end_stream() && [Method::POST, Method::PUT, Method::PATCH].contains(&parts.method) => {
            parts.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        // Without leading zeros, by which some programs take a number for an octal one.
        Some(length) if parts.headers.contains_key(CONTENT_LENGTH) => {
            parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        // The client sets it.
        Some(_) => {}
        None => {
            parts.headers.remove(CONTENT_LENGTH);
            // The client would send a GET without its body otherwise. Over HTTP/2, it removes the field.
            if protocol != Protocol::Http2 {
                parts.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
        }
    }
}

fn set_host(parts: &mut Parts, host: Option<HeaderValue>, protocol: Protocol) {
    // The client sets that of the upstream.
    parts.headers.remove(HOST);
    if let Some(host) = host.filter(|_| protocol.keeps_host()) {
        parts.headers.insert(HOST, host);
    }
}

fn takes_trailers(value: &HeaderValue) -> bool {
    value.as_bytes().split(|byte| *byte == b',').any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// `Max-Forwards` (RFC 9110 section 7.6.2).
fn forward_once_less(parts: &mut Parts) -> Result<(), BadRequest> {
    if parts.method != Method::OPTIONS {
        return Ok(());
    }
    let left = parts.headers.get(MAX_FORWARDS).and_then(|left| left.to_str().ok()?.parse::<u32>().ok());
    if let Some(left) = left {
        let left = left.checked_sub(1).ok_or(BadRequest::Circle)?;
        parts.headers.insert(MAX_FORWARDS, HeaderValue::from(left));
    }
    Ok(())
}

/// `Via` (RFC 9110 section 7.6.3).
fn add_via(parts: &mut Parts) -> Result<(), BadRequest> {
    let passed = |line: &HeaderValue| {
        let ours = |hop: &&[u8]| hop.trim_ascii().ends_with(PSEUDONYM.as_bytes());
        line.as_bytes().split(|byte| *byte == b',').filter(ours).count()
    };
    if parts.headers.get_all(VIA).iter().map(passed).sum::<usize>() >= MAX_PASSES {
        return Err(BadRequest::Circle);
    }
    let version = match parts.version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    if let Ok(hop) = HeaderValue::try_from(format!("{version} {PSEUDONYM}")) {
        parts.headers.append(VIA, hop);
    }
    Ok(())
}

/// HTTP/2 may split `Cookie` into several lines, which other versions must not have (RFC 9113 section 8.2.3).
fn join_cookies(parts: &mut Parts) {
    let crumbs: Vec<&[u8]> = parts.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(b"; ".as_slice()))
    {
        parts.headers.insert(COOKIE, cookie);
    }
}
