//! What travels beside a request and its answer: where it came from, and what the log is told of it.

use std::net::{IpAddr, Ipv4Addr};

use axum::http::Extensions;

use crate::{protocol::GrantType, server::model::Client};

/// Who a request comes from: the other end of the connection, or whom a trusted proxy there names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source(pub(super) IpAddr);

impl Source {
    /// The address that a request came from; every request has it noted.
    pub(super) fn of(extensions: &Extensions) -> IpAddr {
        extensions.get::<Self>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |source| source.0)
    }
}

/// What a handler has to say for the log; it travels with the answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Note {
    /// The client's id, or what a refused request gave as one, fit for a log.
    pub(super) client: Option<String>,
    /// The user for whom a token was issued.
    pub(super) user: Option<String>,
    pub(super) grant: Option<GrantType>,
    /// The address of the user, as sent by the client.
    pub(super) user_address: Option<IpAddr>,
    /// Why it was refused or failed; the caller may not learn it.
    pub(super) cause: Option<String>,
    /// Where a secret was that does not belong there.
    pub(super) misplaced_secret: Option<Place>,
}

impl Note {
    /// The note of a request by this client.
    pub(super) fn of(client: &Client) -> Self {
        Self { client: Some(client.id.to_string()), ..Self::default() }
    }
}

/// A part of a request that a caller fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Path,
    Query,
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
    ParameterName,
}

impl Place {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::RequestId => "X-Request-Id",
            Self::ClientId => "client_id",
            Self::ClientSecret => "client_secret",
            Self::GrantType => "grant_type",
            Self::Scope => "scope",
            Self::Resource => "resource",
            Self::Audience => "audience",
            Self::Username => "username",
            Self::Password => "password",
            Self::RefreshToken => "refresh_token",
            Self::Token => "token",
            Self::TokenTypeHint => "token_type_hint",
            Self::ParameterName => "the name of a parameter",
        }
    }
}
