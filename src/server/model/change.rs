use crate::clock::Timestamp;

/// An entry of the change log.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) number: i64,
    pub(crate) at: Timestamp,
    /// The operator: a name and a machine.
    pub(crate) actor: String,
    /// The action, such as `client.create`.
    pub(crate) action: String,
    /// The target: a client's id, a resource's audience, a user's name, a key's id.
    pub(crate) target: String,
}
