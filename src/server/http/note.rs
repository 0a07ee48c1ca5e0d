//! Extensions of requests and responses: the source address, and the note for the log.

use std::net::{IpAddr, Ipv4Addr};

use axum::http::Extensions;

use crate::{protocol::GrantType, server::model::Client};

/// The address that a request came from: the peer of the connection, or the client address that a trusted proxy reports.
#[derive(Debug, Clone, Copy)]
pub(super) struct SourceAddress(pub(super) IpAddr);

impl SourceAddress {
    /// The source address, which every request carries.
    pub(super) fn of(extensions: &Extensions) -> IpAddr {
        extensions.get::<Self>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |source| source.0)
    }
}

/// What a handler reports for the log. It is an extension of the response.
#[derive(Debug, Clone, Default)]
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

impl Note {
    /// A note that names the client.
    pub(super) fn of(client: &Client) -> Self {
        Self { client: Some(client.id.to_string()), ..Self::default() }
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
    #[strum(to_string = "the name of a parameter")]
    ParameterName,
}

impl RequestPart {
    pub(super) fn as_str(self) -> &'static str {
        self.into()
    }
}
