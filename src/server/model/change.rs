use crate::clock::Timestamp;

/// Something that an operator changed.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) number: i64,
    pub(crate) at: Timestamp,
    /// Who: the name and the machine of whoever ran the command.
    pub(crate) actor: String,
    /// What was done, such as `client.create`.
    pub(crate) action: String,
    /// To what: a client's id, a resource's audience, a user's name, a key's id.
    pub(crate) target: String,
}
