use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use secrecy::SecretString;
use uuid::{Builder, Uuid};

use crate::{
    clock::Timestamp,
    entropy,
    protocol::{Audience, Malformed, Scope},
};

use super::{
    ClaimName, ClaimValue, CustomClaims, Username,
    change::{Facts, facts, texts},
    rfc3339,
};

/// The `sub` of a user's tokens: a random UUID. It reveals nothing about the user, and no client id has this form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UserId(Uuid);

impl UserId {
    pub(crate) fn generate() -> Self {
        Self(Builder::from_random_bytes(entropy::bytes()).into_uuid())
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for UserId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        Uuid::try_parse(text).map(Self).map_err(|_| Malformed { what: "user id", rule: "it must be a UUID" })
    }
}

/// A person.
#[derive(Debug, Clone)]
pub struct User {
    pub(crate) id: UserId,
    pub(crate) username: Username,
    /// argon2id, in PHC form.
    pub(crate) password_hash: SecretString,
    /// The scope that the user may have, by resource.
    pub(crate) permissions: BTreeMap<Audience, Scope>,
    /// What resources may ask for.
    pub(crate) attributes: CustomClaims,
    pub(crate) created_at: Timestamp,
    pub(crate) disabled_at: Option<Timestamp>,
    pub(crate) signed_in_at: Option<Timestamp>,
    /// Another number after each withdrawal of a right.
    pub(crate) tokens_since: i64,
}

impl User {
    /// Its properties for the change log, without the password hash.
    pub(crate) fn facts(&self) -> Facts {
        let allow: Facts = self.permissions.iter().map(|(audience, scope)| (audience.to_string(), texts(scope.iter()))).collect();
        facts([
            ("sub", self.id.to_string().into()),
            ("allow", allow.into()),
            ("attributes", self.attributes.fact()),
            ("disabled_at", self.disabled_at.map(rfc3339).into()),
        ])
    }

    /// Refuses attributes that cannot be stored.
    pub(crate) fn require_valid_attributes(self) -> Result<Self, String> {
        self.attributes.require_valid(format!("the attributes of the user {}", self.username))?;
        Ok(self)
    }

    /// The user's name, or an attribute.
    pub(crate) fn claim(&self, name: &ClaimName) -> Option<ClaimValue> {
        if name.is_preferred_username() {
            return Some(ClaimValue::text(self.username.as_str()));
        }
        self.attributes.get(name).cloned()
    }
}

/// A password that was correct when it was checked. It counts if it still is when the login is written.
#[derive(Debug, Clone)]
pub(crate) struct PasswordProof {
    /// The hash that it was checked against.
    pub(crate) hash: SecretString,
    /// Its hash with the current parameters, if they were raised since.
    pub(crate) rehash: Option<SecretString>,
}

/// The changes of an update. Empty values change nothing.
#[derive(Debug, Clone, Default)]
pub struct UserChange {
    /// Replaces the user's scope at each of these resources.
    pub allow: BTreeMap<Audience, Scope>,
    /// Removes all permissions at these resources.
    pub disallow: BTreeSet<Audience>,
    /// Attributes to set.
    pub set_attributes: CustomClaims,
    /// Attributes to remove.
    pub remove_attributes: BTreeSet<ClaimName>,
}

impl UserChange {
    /// Returns the changed user. Refuses to remove what the user does not have.
    pub(crate) fn apply(self, mut user: User) -> Result<User, String> {
        if let Some(audience) = self.disallow.iter().find(|audience| self.allow.contains_key(audience)) {
            return Err(format!("{audience} is both allowed and disallowed"));
        }
        for audience in &self.disallow {
            if user.permissions.remove(audience).is_none() {
                return Err(format!("the user {} has no permission at {audience}", user.username));
            }
        }
        user.permissions.extend(self.allow);
        let owner = format!("the user {}", user.username);
        user.attributes.change(&self.set_attributes, &self.remove_attributes, owner, "attribute")?;
        user.require_valid_attributes()
    }
}
