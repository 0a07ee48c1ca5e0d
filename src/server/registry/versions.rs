//! Caches whose entries are invalidated one by one: each client and resource has a version, the epoch in which it last changed.

use std::{collections::HashMap, fmt, hash::Hash, sync::Arc};

use moka::{Equivalent, future::Cache};

use crate::{
    protocol::{Audience, ClientId},
    server::{model::Change, store},
};

/// What changed in the registry between two reads of the epochs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    These {
        clients: Vec<ClientId>,
        resources: Vec<Audience>,
    },
    /// Unknown, so anything may have changed.
    Anything,
}

impl Changed {
    /// What `changes` tell. They are all that followed the change number `after`, up to `newest`, and account for all of the registry's
    /// `epochs` that have passed; otherwise anything may have changed. Each change of a client or a resource raises the epoch by one and
    /// is recorded in the same transaction, and changes are numbered consecutively.
    pub(crate) fn of(changes: &[Change], after: i64, newest: i64, epochs: i64) -> Self {
        if i64::try_from(changes.len()) != Ok(newest - after) {
            return Self::Anything;
        }
        let (mut clients, mut resources, mut count) = (Vec::new(), Vec::new(), 0);
        for Change { action, target, .. } in changes {
            match action.split_once('.') {
                // A change of a secret names the client, then the secret.
                Some(("client", _)) => match target.split(' ').next().unwrap_or_default().parse() {
                    Ok(id) => clients.push(id),
                    Err(_) => return Self::Anything,
                },
                Some(("resource", _)) => match target.parse() {
                    Ok(audience) => resources.push(audience),
                    Err(_) => return Self::Anything,
                },
                _ => continue,
            }
            count += 1;
        }
        if count == epochs { Self::These { clients, resources } } else { Self::Anything }
    }
}

/// The version of each client and resource.
#[derive(Debug, Clone)]
pub(super) struct Versions {
    /// The version of everything that is not listed.
    base: i64,
    clients: Arc<HashMap<ClientId, i64>>,
    resources: Arc<HashMap<Audience, i64>>,
}

impl Versions {
    /// Maximum number of listed entities of each kind. Beyond it, everything gets a new version.
    const LISTED: usize = 4096;

    pub(super) fn new(epoch: i64) -> Self {
        Self { base: epoch, clients: Arc::default(), resources: Arc::default() }
    }

    pub(super) fn client(&self, id: &ClientId) -> i64 {
        self.clients.get(id).copied().unwrap_or(self.base)
    }

    pub(super) fn resource(&self, audience: &Audience) -> i64 {
        self.resources.get(audience).copied().unwrap_or(self.base)
    }

    /// Whether everything has the same version.
    pub(super) fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.resources.is_empty()
    }

    /// The versions in `epoch`, after these changes.
    pub(super) fn after(&self, changed: &Changed, epoch: i64) -> Self {
        let Changed::These { clients, resources } = changed else { return Self::new(epoch) };
        let mut next = self.clone();
        list(&mut next.clients, clients, epoch);
        list(&mut next.resources, resources, epoch);
        if next.clients.len().max(next.resources.len()) > Self::LISTED { Self::new(epoch) } else { next }
    }
}

fn list<K: Clone + Eq + Hash>(listed: &mut Arc<HashMap<K, i64>>, changed: &[K], epoch: i64) {
    if !changed.is_empty() {
        Arc::make_mut(listed).extend(changed.iter().map(|key| (key.clone(), epoch)));
    }
}

/// A cache of database reads. An entry is valid for one version of its key. A read that began before a change was noticed is stored under
/// the old version, where it is not found any longer.
pub(super) struct VersionedCache<K, V>(Cache<(i64, K), Option<Arc<V>>>);

impl<K, V> fmt::Debug for VersionedCache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VersionedCache")
    }
}

/// A key by reference, so that a look-up does not copy it.
#[derive(Hash)]
struct KeyRef<'a, K>(i64, &'a K);

impl<K: Eq> Equivalent<(i64, K)> for KeyRef<'_, K> {
    fn equivalent(&self, (version, key): &(i64, K)) -> bool {
        self.0 == *version && self.1 == key
    }
}

impl<K, V> VersionedCache<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    pub(super) fn new(capacity: u64) -> Self {
        Self(Cache::builder().max_capacity(capacity).build())
    }

    /// The value of `key`, from the cache or by `read`. Concurrent callers share one read.
    pub(super) async fn find(
        &self,
        version: i64,
        key: &K,
        read: impl Future<Output = Result<Option<V>, store::Error>>,
    ) -> Result<Option<Arc<V>>, Arc<store::Error>> {
        if let Some(cached) = self.0.get(&KeyRef(version, key)).await {
            return Ok(cached);
        }
        self.0.try_get_with((version, key.clone()), async { read.await.map(|value| value.map(Arc::new)) }).await
    }

    pub(super) fn clear(&self) {
        self.0.invalidate_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn change(action: &str, target: &str) -> Change {
        let (action, target) = (action.to_owned(), target.to_owned());
        Change { number: 1, at: Timestamp::from_seconds(0), actor: String::new(), action, target }
    }

    #[test]
    fn op17_changes_name_what_to_read_again_only_if_they_account_for_every_epoch() {
        let changes = [
            change("client.update", "billing"),
            change("user.create", "alice"),
            change("client.add_secret", "shop 0a1b2c3d"),
            change("resource.update", "https://orders.example"),
        ];
        let these = Changed::These {
            clients: vec!["billing".parse().unwrap(), "shop".parse().unwrap()],
            resources: vec!["https://orders.example".parse().unwrap()],
        };
        assert_eq!(Changed::of(&changes, 10, 14, 3), these);
        for epochs in [2, 4] {
            assert_eq!(Changed::of(&changes, 10, 14, epochs), Changed::Anything, "{epochs}");
        }
        // The first page of a longer list, which accounts for as many epochs as have passed by chance; and a gap.
        assert_eq!(Changed::of(&changes, 10, 1500, 3), Changed::Anything);
        assert_eq!(Changed::of(&changes, 9, 14, 3), Changed::Anything);
        assert_eq!(Changed::of(&[change("client.update", "")], 0, 1, 1), Changed::Anything);
    }

    #[test]
    fn op17_a_change_gives_a_new_version_only_to_what_changed() {
        let (billing, shop): (ClientId, ClientId) = ("billing".parse().unwrap(), "shop".parse().unwrap());
        let orders: Audience = "https://orders.example".parse().unwrap();
        let first = Versions::new(7);
        let these = Changed::These { clients: vec![billing.clone()], resources: Vec::new() };
        let second = first.after(&these, 8);
        assert_eq!((second.client(&billing), second.client(&shop), second.resource(&orders)), (8, 7, 7));
        let third = second.after(&Changed::Anything, 9);
        assert_eq!((third.client(&billing), third.client(&shop), third.resource(&orders)), (9, 9, 9));
        let many = (0..=Versions::LISTED).map(|number| format!("client-{number}").parse().unwrap()).collect();
        let fourth = third.after(&Changed::These { clients: many, resources: Vec::new() }, 10);
        assert!(fourth.is_empty() && fourth.client(&shop) == 10, "the list is bounded");
    }
}
