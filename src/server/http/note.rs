//! The note on a request: what its handler finds out, for the log.

use std::{
    mem,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, PoisonError},
};

use axum::http::Extensions;

use crate::protocol::GrantType;

/// The source of a request, and the note on it. The layer that logs the request creates it as an extension of the request, and the handler
/// fills it in. So what is known by then is logged even if the caller disconnects.
#[derive(Debug, Clone)]
pub(super) struct RequestNote(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: IpAddr,
    note: Mutex<Note>,
}

/// What the handler of a request found out.
#[derive(Debug, Default)]
pub(super) struct Note {
    /// The client id, or what a refused request sent as one, safe to log.
    pub(super) client: Option<String>,
    /// The user that a token was issued for.
    pub(super) user: Option<String>,
    pub(super) grant: Option<GrantType>,
    /// The address of the user, as sent by the client.
    pub(super) user_address: Option<IpAddr>,
    /// Why the request was refused or failed. Not sent to the caller.
    pub(super) cause: Option<String>,
    /// The part of the request that contained a secret by mistake.
    pub(super) misplaced_secret: Option<RequestPart>,
}

impl RequestNote {
    pub(super) fn new(source: IpAddr) -> Self {
        Self(Arc::new(Inner { source, note: Mutex::default() }))
    }

    /// The note on the request with these extensions.
    pub(super) fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_else(|| Self::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
    }

    /// The address that the request came from: the peer of the connection, or the client address that a trusted proxy reports.
    pub(super) fn source(&self) -> IpAddr {
        self.0.source
    }

    /// Notes what `note` writes.
    pub(super) fn write(&self, note: impl FnOnce(&mut Note)) {
        note(&mut self.0.note.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes a part of the request that contained a secret by mistake. The first one counts.
    pub(super) fn misplaced_secret(&self, place: Option<RequestPart>) {
        self.write(|note| note.misplaced_secret = note.misplaced_secret.or(place));
    }

    /// Takes what was noted.
    pub(super) fn take(&self) -> Note {
        let mut taken = Note::default();
        self.write(|note| taken = mem::take(note));
        taken
    }
}

/// A part of a request that contains text from the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum RequestPart {
    Path,
    Query,
    #[strum(to_string = "X-Request-Id")]
    RequestId,
    ClientId,
    ClientSecret,
    GrantType,
    Scope,
    Resource,
    Audience,
    Username,
    Password,
    RefreshToken,
    Token,
    TokenTypeHint,
    ClientAssertion,
    ClientAssertionType,
    #[strum(to_string = "the name of a parameter")]
    ParameterName,
}

impl RequestPart {
    pub(super) fn as_str(self) -> &'static str {
        self.into()
    }
}
