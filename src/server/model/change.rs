use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Damaged;
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

/// An entry of the change log with its detail. Entries of earlier versions have none, and a damaged one does not hide the entry.
#[derive(Debug, Clone)]
pub(crate) struct DetailedChange {
    pub(crate) change: Change,
    pub(crate) detail: Result<Option<Detail>, Damaged>,
}

/// The properties of an entity, as the change log shows them. They never include a secret, a hash or a digest.
pub(crate) type Facts = Map<String, Value>;

/// What a change changed: the properties that differ, before and after.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Detail {
    /// The id of the HTTP request that asked for the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<Facts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<Facts>,
}

impl Detail {
    /// The detail of a change between two states. `None` means that the entity does not exist.
    pub(crate) fn between(before: Option<Facts>, after: Option<Facts>) -> Self {
        let differing = |facts: &Facts, other: &Facts| -> Facts {
            facts
                .iter()
                .filter(|(name, value)| other.get(*name) != Some(value))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect()
        };
        let present = |facts: Facts| -> Facts { facts.into_iter().filter(|(_, value)| !value.is_null()).collect() };
        match (before, after) {
            (Some(before), Some(after)) => {
                Self { request: None, before: Some(differing(&before, &after)), after: Some(differing(&after, &before)) }
            }
            (before, after) => Self { request: None, before: before.map(present), after: after.map(present) },
        }
    }

    /// The detail of a change that only adds these properties.
    pub(crate) fn added(after: Facts) -> Self {
        Self::between(None, Some(after))
    }

    /// The same, with the number of logins that the change ended.
    pub(crate) fn with_logins_ended(mut self, ended: u64) -> Self {
        self.after.get_or_insert_default().insert("logins_ended".to_owned(), ended.into());
        self
    }
}

/// Makes [`Facts`] of names and values.
pub(crate) fn facts<const N: usize>(members: [(&str, Value); N]) -> Facts {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The texts of `items`, as JSON.
pub(super) fn texts(items: impl IntoIterator<Item = impl ToString>) -> Value {
    items.into_iter().map(|item| item.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_detail_shows_what_differs() {
        let before = facts([("grants", "a".into()), ("disabled_at", Value::Null), ("kept", 1.into())]);
        let after = facts([("grants", "b".into()), ("disabled_at", "2026".into()), ("kept", 1.into())]);
        let json = |detail| serde_json::to_value(&detail).unwrap();
        let changed = Detail::between(Some(before.clone()), Some(after.clone()));
        let differs = json!({ "before": { "disabled_at": null, "grants": "a" }, "after": { "disabled_at": "2026", "grants": "b" } });
        assert_eq!(json(changed), differs);
        assert_eq!(json(Detail::added(before)), json!({ "after": { "grants": "a", "kept": 1 } }));
        assert_eq!(json(Detail::between(Some(after.clone()), Some(after))), json!({ "before": {}, "after": {} }));
    }
}
