//! The tokens of a login, as a web application stores them.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The tokens of one user's login. The application stores them on the server side, in a session, and never in a browser: a person who has them can
/// act as the user. `Debug` does not show them, and they are wiped from memory when dropped; serialising writes them out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Tokens {
    pub(super) access_token: String,
    pub(super) refresh_token: Option<String>,
    pub(super) scope: Option<String>,
    /// The end of the access token's use. Seconds since 1970-01-01T00:00:00Z.
    pub(super) usable_until: i64,
}

impl Tokens {
    /// What the user may do through this application, as the issuer stated it: scope tokens separated by spaces.
    #[must_use]
    pub fn scope(&self) -> &str {
        self.scope.as_deref().unwrap_or_default()
    }

    /// Whether the scope contains `token`.
    #[must_use]
    pub fn has_scope(&self, token: &str) -> bool {
        self.scope().split(' ').any(|granted| granted == token)
    }

    pub(super) fn refresh_token(&self) -> Option<&str> {
        self.refresh_token.as_deref()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("scope", &self.scope).field("usable_until", &self.usable_until).finish_non_exhaustive()
    }
}
