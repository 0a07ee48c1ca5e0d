use std::sync::Arc;

use http::{HeaderMap, HeaderName};

/// The fields that only the user of the forwarder sets, for example those that name the caller to the upstream. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reserved(Arc<[String]>);

impl Reserved {
    pub(crate) fn new(names: impl IntoIterator<Item = HeaderName>) -> Self {
        Self(names.into_iter().map(|name| name.as_str().to_owned()).collect())
    }

    /// These fields and others.
    pub(crate) fn and(&self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        let names = names.into_iter().map(|name| name.as_str().to_owned());
        Self(self.0.iter().cloned().chain(names).collect())
    }

    /// Removes these fields, in every spelling that an upstream may take for them.
    pub(crate) fn remove_from(&self, fields: &mut HeaderMap) {
        let found: Vec<HeaderName> = fields.keys().filter(|name| self.contains(name)).cloned().collect();
        for name in found {
            fields.remove(name);
        }
    }

    /// Whether an upstream may take `name` for one of them.
    pub(crate) fn contains(&self, name: &HeaderName) -> bool {
        self.0.iter().any(|reserved| alike(reserved, name.as_str()))
    }
}

/// Whether an upstream may take one name of a field for the other. By RFC 3875 section 4.1.18, CGI and its successors write `-` as `_`, and
/// some write other marks so, too. So all marks are the same here.
pub(super) fn alike(one: &str, other: &str) -> bool {
    one.len() == other.len() && folded(one).eq(folded(other))
}

fn folded(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().map(|byte| if byte.is_ascii_alphanumeric() { byte } else { b'-' })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gd2_a_reserved_field_is_removed_in_every_spelling() {
        let reserved = Reserved::new([HeaderName::from_static("x-token-subject")]);
        let mut fields = HeaderMap::new();
        for name in ["X-Token-Subject", "x_token_subject", "X-Token_Subject", "x.token.subject", "x-token-subject2", "x-token"] {
            fields.append(name.parse::<HeaderName>().unwrap(), "1".parse().unwrap());
        }
        fields.append("x-token-subject", "2".parse().unwrap());
        reserved.remove_from(&mut fields);
        let mut left: Vec<&str> = fields.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["x-token", "x-token-subject2"]);
    }
}
