//! Replaces the sealing key while servers run, in two phases. Each can be repeated, so that a process that was killed can be continued.
//!
//! 1. A new key is added to the file, after the present one. Servers read the file again and report the kids of their keys.
//! 2. Once every running server has the new key, the canary and all sealed texts are rewritten under it. From then on, servers seal with it,
//!    and a key that was sealed before and not yet stored is refused. At the end, the old key leaves the file.
//!
//! The database records the kid of the new key, from the first phase until the end. So a repeated call continues with that key.

use std::{collections::BTreeSet, io, path::Path, time::Duration};

use super::{
    Error, KeyRequests, MacKey, Policy, RequestError, SealingKeys,
    plan::SHORT_LEAD,
    rotation,
    sealing::{KeyFile, KeySet, Sealed},
};
use crate::{
    clock::{Stopwatch, Timestamp},
    protocol::Algorithm,
    server::{
        act::Act,
        model::SigningKeyRow,
        store::{self, Canary, Content, Rewriting, RunningServer, SealedText, Store, Successor, sealing_kid},
    },
};

/// How long a server counts as running after its last report: more than two of its intervals and the skew.
const SEEN_WITHIN: Duration = Duration::from_secs(180);
/// Maximum number of passes over the sealed texts. A second one finds what was written during the first.
const PASSES: u32 = 20;

/// The replacement of the sealing key.
#[derive(Debug)]
pub(crate) struct Reseal {
    sealing: SealingKeys,
    /// The new key.
    kid: String,
    /// Whether signing keys and MAC keys are replaced as well.
    replaces: bool,
}

/// The first phase is done, as far as this process can.
#[derive(Debug)]
pub(crate) enum Begun {
    Ready(Reseal),
    /// The keys are from a place that this process does not change: the operator has to put the new set there.
    Distribute {
        kid: String,
        output: String,
        place: String,
    },
}

/// What was rewritten.
#[derive(Debug, Default)]
pub(crate) struct Resealed {
    pub(crate) kid: String,
    /// The number of texts that are under the new key now and were not before.
    pub(crate) rewritten: usize,
    /// The names of the MAC keys that were replaced.
    pub(crate) replaced: Vec<String>,
    pub(crate) logins_ended: u64,
    /// The names of the rows that do not open. They are left as they are.
    pub(crate) unopened: BTreeSet<String>,
    /// The kids of the signing keys that were withdrawn.
    pub(crate) withdrawn: Vec<String>,
    /// The algorithms whose signing keys have to be replaced before their texts are rewritten.
    pub(crate) algorithms: Vec<Algorithm>,
}

/// The old keys, after the end.
#[derive(Debug, Default)]
pub(crate) struct Retired {
    pub(crate) kids: Vec<String>,
    /// The file in which they are kept.
    pub(crate) file: Option<String>,
}

impl Reseal {
    /// The first phase. `replaces`: the sealing key may be known. `output`: where to write the new set if the place of the keys cannot be
    /// changed.
    pub(crate) async fn begin(
        policy: &Policy,
        store: &Store,
        replaces: bool,
        output: Option<&Path>,
        now: Timestamp,
    ) -> Result<Begun, RequestError> {
        let _turn = SealingKeys::lock_folder(policy).await;
        let sealing = SealingKeys::open_existing(policy, store).await?;
        let canary = store.find_canary().await?.ok_or(Error::NotInitialized)?;
        let set = sealing.set();
        // A key that was made before its text was known to be compromised may be known, too.
        let begun = canary.successor.clone().filter(|successor| successor.replaces || !replaces);
        let known = begun.as_ref().filter(|successor| set.find(&successor.kid).is_some());
        if let (Some(successor), None) = (&begun, known) {
            let servers = store.list_servers(now - SEEN_WITHIN).await?;
            if let Some(server) = servers.into_iter().find(|server| server.sealing_kids.contains(&successor.kid)) {
                let place = sealing.place();
                return Err(Error::ResealedElsewhere { kid: successor.kid.clone(), place, server: server.name }.into());
            }
        }
        let current = sealing_kid(&canary.sealed).unwrap_or_default();
        // A process that was killed may have added a key without recording it.
        let unrecorded = set.last_after(&current).filter(|_| !replaces);
        let (successor, added) = match (known, unrecorded) {
            (Some(known), _) => (known.clone(), None),
            (None, Some(kid)) => (Successor { kid, replaces }, None),
            (None, None) => {
                let new = KeySet::generate();
                (Successor { kid: new.kids().swap_remove(0), replaces }, Some(set.and(&new)))
            }
        };
        let Successor { kid, replaces } = successor.clone();
        if replaces {
            // Refuses a clock that is behind, which would let the new signing keys sign at the wrong time.
            KeyRequests::read(policy, store, now).await?;
        }
        if let Some(file) = owned(&sealing) {
            file.remove_leftovers()?;
        }
        let mut distribute = None;
        if let Some(added) = &added {
            match (owned(&sealing), output) {
                (Some(file), _) => file.replace(added, file)?,
                (None, Some(output)) => {
                    let file = create(output, added)?;
                    distribute = Some(Begun::Distribute { kid: kid.clone(), output: file, place: sealing.place() });
                }
                (None, None) => return Err(Error::SealingKeyGiven { place: sealing.place() }.into()),
            }
        }
        if canary.successor.as_ref() != Some(&successor) {
            store.set_successor(&canary, Some(successor)).await?;
        }
        if let Some(distribute) = distribute {
            return Ok(distribute);
        }
        sealing.refresh(store).await?;
        Ok(Begun::Ready(Self { sealing, kid, replaces }))
    }

    /// The running servers that cannot open the new key yet.
    pub(crate) async fn behind(&self, store: &Store, now: Timestamp) -> Result<Vec<RunningServer>, Error> {
        let mut servers = store.list_servers(now - SEEN_WITHIN).await?;
        servers.retain(|server| !server.sealing_kids.contains(&self.kid));
        Ok(servers)
    }

    /// The second phase: rewrites the canary and all sealed texts. Adds to `done`; a call after signing keys were replaced rewrites the rest.
    pub(crate) async fn rewrite(&self, store: &Store, act: &Act, mut done: Resealed) -> Result<Resealed, Error> {
        let behind = self.behind(store, act.now).await?;
        if !behind.is_empty() {
            let seen = |server: &RunningServer| format!("{} (last seen {} s ago)", server.name, act.now.since(server.seen_at).as_secs());
            let servers = behind.iter().map(seen).collect::<Vec<_>>().join(", ");
            return Err(Error::ServersBehind { kid: self.kid.clone(), place: self.sealing.place(), servers, wait: SEEN_WITHIN });
        }
        done.kid.clone_from(&self.kid);
        for _ in 0..PASSES {
            let canary = store.find_canary().await?.ok_or(Error::NotInitialized)?;
            let rewriting = self.prepare(&canary, store, &mut done).await?;
            if rewriting.canary.is_none() && rewriting.texts.is_empty() {
                return Ok(done);
            }
            let (count, replaced) = (rewriting.texts.len(), rewriting.replaced.clone());
            match store.rewrite_sealed(act, rewriting).await {
                Ok(ended) => done.logins_ended += ended,
                Err(store::Error::Resealed) => return Err(Error::ResealInterrupted),
                Err(error) => return Err(error.into()),
            }
            done.rewritten += count;
            done.replaced.extend(replaced);
        }
        Err(Error::ResealInterrupted)
    }

    /// What is not under the new key yet.
    async fn prepare(&self, canary: &Canary, store: &Store, done: &mut Resealed) -> Result<Rewriting, Error> {
        let sealing = self.sealing.sealing_with(&self.kid);
        let mut rewriting = Rewriting { kid: self.kid.clone(), ..Rewriting::default() };
        if sealing_kid(&canary.sealed).as_ref() != Some(&self.kid) {
            let (sealed, origin) = sealing.seal_canary()?;
            rewriting.canary = Some((canary.sealed.clone(), sealed, origin));
        }
        done.algorithms.clear();
        let (texts, unreadable) = store.list_sealed().await?;
        done.unopened = unreadable.into_iter().collect();
        for text in texts {
            if sealing_kid(&text.sealed).as_ref() == Some(&self.kid) {
                continue;
            }
            match &text.content {
                Content::SigningKey { algorithm, revoked: false, .. } if self.replaces => {
                    if !done.algorithms.contains(algorithm) {
                        done.algorithms.push(*algorithm);
                    }
                }
                Content::MacKey { name } if self.replaces => {
                    let new = MacKey::generate_sealed(name, &sealing)?;
                    rewriting.replaced.push(text.content.name());
                    rewriting.ends_logins = true;
                    rewriting.texts.push((text, new));
                }
                _ => match reseal(&sealing, &text) {
                    Ok(new) => rewriting.texts.push((text, new)),
                    Err(_) => drop(done.unopened.insert(text.content.name())),
                },
            }
        }
        Ok(rewriting)
    }

    /// Creates a signing key under the new sealing key for each of these algorithms, unless there is one. Returns when they sign: soon, and not
    /// before every node has read them. Until then, the present ones sign.
    pub(crate) async fn create_signing_keys(
        &self,
        policy: &Policy,
        store: &Store,
        act: &Act,
        algorithms: &[Algorithm],
    ) -> Result<Timestamp, Error> {
        let (sealing, started) = (self.sealing.sealing_with(&self.kid), Stopwatch::start());
        let mut all_sign_at = act.now;
        'algorithms: for algorithm in algorithms.iter().copied() {
            for _ in 0..PASSES {
                let (stored, soon) = (store.list_signing_keys().await?, (act.now + started.elapsed() + SHORT_LEAD).to_whole_second());
                let signs = |row: &&SigningKeyRow| {
                    let new = row.algorithm == algorithm && sealing_kid(&row.sealed).as_ref() == Some(&self.kid);
                    new && row.revoked_at.is_none() && row.activates_at <= soon && row.retires_at.is_none_or(|retires_at| retires_at > soon)
                };
                if let Some(row) = stored.rows.iter().find(signs) {
                    all_sign_at = all_sign_at.max(row.activates_at);
                    continue 'algorithms;
                }
                let generation = stored.newest_generation(algorithm).saturating_add(1);
                let mut row = rotation::create(policy, &sealing, algorithm, generation, act.now, soon).await?;
                // A large RSA key takes seconds.
                row.activates_at = (act.now + started.elapsed() + SHORT_LEAD).to_whole_second();
                let predecessors_expire_at = policy.schedule().expiry_of(row.activates_at);
                store.insert_signing_key(act, "key.create", row, predecessors_expire_at).await?;
            }
            return Err(Error::ResealInterrupted);
        }
        Ok(all_sign_at)
    }

    /// Withdraws all signing keys that were under another sealing key, also those that do not sign yet.
    pub(crate) async fn withdraw_signing_keys(&self, store: &Store, act: &Act, done: &mut Resealed) -> Result<(), Error> {
        for SealedText { content, sealed } in store.list_sealed().await?.0 {
            if let Content::SigningKey { kid, revoked: false, .. } = content
                && sealing_kid(&sealed).as_ref() != Some(&self.kid)
            {
                store.revoke_signing_key(act, &kid).await?;
                done.withdrawn.push(kid);
            }
        }
        Ok(())
    }

    /// The end: the old keys leave the file, and are kept in another one, because older backups need them.
    pub(crate) async fn end(self, policy: &Policy, store: &Store, output: Option<&Path>) -> Result<Retired, Error> {
        let _turn = SealingKeys::lock_folder(policy).await;
        self.sealing.refresh(store).await?;
        let canary = store.find_canary().await?.ok_or(Error::NotInitialized)?;
        let set = self.sealing.set();
        if canary.successor.as_ref().is_none_or(|successor| successor.kid != self.kid) {
            // Another process has completed it, and may have begun the next one.
            return Ok(Retired::default());
        }
        if sealing_kid(&canary.sealed).as_ref() != Some(&self.kid) {
            return Err(Error::ResealInterrupted);
        }
        let (new, old) = (set.filtered(|kid| kid == self.kid), set.filtered(|kid| kid != self.kid));
        let mut retired = Retired { kids: old.kids(), file: None };
        match (owned(&self.sealing), output) {
            (Some(file), _) if !old.is_empty() => {
                let kept = file.of_retired();
                let all = kept.read()?.map_or_else(|| old.clone(), |earlier| old.and(&earlier));
                kept.replace(&all, file)?;
                file.replace(&new, file)?;
                retired.file = Some(kept.path().display().to_string());
            }
            (None, Some(output)) if !old.is_empty() => drop(create(output, &new)?),
            _ => {}
        }
        store.set_successor(&canary, None).await?;
        Ok(retired)
    }
}

/// The file of the sealing keys, if this command may replace it. A link leads to a file that others manage, such as a mounted secret.
fn owned(sealing: &SealingKeys) -> Option<&KeyFile> {
    sealing.file().filter(|file| !file.is_link())
}

fn create(output: &Path, keys: &KeySet) -> Result<String, Error> {
    let file = KeyFile::at(output);
    if file.create(keys)? { Ok(file.path().display().to_string()) } else { Err(file.error(io::ErrorKind::AlreadyExists.into())) }
}

/// The same content, under the key that seals now.
fn reseal(sealing: &SealingKeys, text: &SealedText) -> Result<String, Error> {
    let what = match &text.content {
        Content::SigningKey { kid, algorithm, generation, .. } => Sealed { kid, generation: *generation, algorithm: Some(*algorithm) },
        Content::MacKey { name } => Sealed { kid: name, generation: 0, algorithm: None },
    };
    sealing.seal(what, &sealing.open(what, &text.sealed)?)
}
