use crate::{
    clock::Timestamp,
    protocol::{Audience, ClientId, GrantType, ScopeToken},
};

use super::LoginFilter;

/// Selects clients. `None` selects all.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClientFilter {
    /// They have scopes at this resource, or introspect its tokens.
    pub(crate) resource: Option<Audience>,
    pub(crate) grant: Option<GrantType>,
    pub(crate) disabled: Option<bool>,
    /// They existed then, and no secret or key of theirs was used since.
    pub(crate) unused_since: Option<Timestamp>,
    /// A secret or a key of theirs is valid at the first of these times and no longer at the second.
    pub(crate) expires: Option<(Timestamp, Timestamp)>,
    pub(crate) limit: Option<u32>,
}

/// Selects users. `None` selects all.
#[derive(Debug, Clone, Default)]
pub(crate) struct UserFilter {
    /// They have scopes at this resource.
    pub(crate) resource: Option<Audience>,
    pub(crate) disabled: Option<bool>,
    /// They existed then, and have neither signed in nor refreshed a login since.
    pub(crate) unused_since: Option<Timestamp>,
    pub(crate) limit: Option<u32>,
}

/// Selects resources. `None` selects all.
#[derive(Debug, Clone, Default)]
pub(crate) struct ResourceFilter {
    pub(crate) scope: Option<ScopeToken>,
    pub(crate) limit: Option<u32>,
}

/// Selects the newest logins.
#[derive(Debug, Clone)]
pub(crate) struct LoginListFilter {
    /// The logins of a user, of a client, or one login.
    pub(crate) of: Option<LoginFilter>,
    /// And of this client.
    pub(crate) client: Option<ClientId>,
    pub(crate) resource: Option<Audience>,
    /// They are not over at this time.
    pub(crate) active_at: Option<Timestamp>,
    pub(crate) limit: u32,
}

/// Selects the newest changes.
#[derive(Debug, Clone)]
pub(crate) struct ChangeFilter {
    pub(crate) actor: Option<String>,
    /// An action such as `client.create`, or all actions on a noun such as `client`.
    pub(crate) action: Option<String>,
    /// A target, the first word of one, or a user name in any spelling.
    pub(crate) target: Option<String>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) limit: u32,
}
