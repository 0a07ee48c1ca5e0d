//! Replaces the sealing key while servers run, in two phases. Each can be repeated, so that a process that was killed can be continued.
//!
//! 1. A new key is added to the file, after the present one. Servers read the file again and report the kids of their keys.
//! 2. Once every running server has the new key, the canary and all sealed texts are rewritten under it. From then on, servers seal with it,
//!    and a key that was sealed before and not yet stored is refused. At the end, the old key leaves the file.
//!
//! The database records the kid of the new key, from before it is in the file until the end. So a repeated call continues with that key. A key of
//! the file that is not recorded, such as a retired one that was put back, is never sealed with.

use std::{collections::BTreeSet, io, path::Path, time::Duration};

use super::{
    Error, MacKey, Policy, RequestError, SealingKeys, rotation,
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
    /// The signing keys that are to sign in place of those that are withdrawn.
    pub(crate) next: Vec<NextKey>,
}

/// A signing key under the new sealing key.
#[derive(Debug)]
pub(crate) struct NextKey {
    kid: String,
    algorithm: Algorithm,
    generation: i64,
}

/// The old keys, after the end.
#[derive(Debug, Default)]
pub(crate) struct Retired {
    pub(crate) kids: Vec<String>,
    /// The file in which they are kept.
    pub(crate) file: Option<String>,
}

impl Reseal {
    /// The first phase. `replaces`: the sealing key may be known. `output`: where to write the new set instead of the place of the keys, if
    /// that cannot be changed.
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
        // A run that began because the sealing key may be known is continued as such.
        let replaces = replaces || canary.successor.as_ref().is_some_and(|successor| successor.replaces);
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
        let file = owned(&sealing, output);
        if let Some(output) = output {
            KeyFile::at(output).require_absent()?;
        }
        if let Some(file) = file {
            file.remove_leftovers()?;
        }
        let (kid, distribute) = if let Some(known) = known {
            (known.kid.clone(), None)
        } else {
            if file.is_none() && output.is_none() {
                return Err(Error::SealingKeyGiven { place: sealing.place() }.into());
            }
            let new = KeySet::generate();
            let (kid, added) = (new.kids().swap_remove(0), set.and(&new));
            // Before the file: a key that is recorded and in no file has sealed nothing, and the next run makes another.
            store.set_successor(&canary, Some(Successor { kid: kid.clone(), replaces })).await?;
            if let Some(file) = file {
                file.replace(&added, file)?;
            }
            let created = output.map(|output| create(output, &added)).transpose()?;
            let distribute = created.map(|output| Begun::Distribute { kid: kid.clone(), output, place: sealing.place() });
            (kid, distribute)
        };
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
        let (texts, unreadable) = store.list_sealed().await?;
        done.unopened = unreadable.into_iter().map(|row| row.name).collect();
        for text in texts {
            if sealing_kid(&text.sealed).as_ref() == Some(&self.kid) {
                continue;
            }
            match &text.content {
                // It is withdrawn first.
                Content::SigningKey { revoked: false, .. } if self.replaces => {}
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

    /// Whether signing keys and MAC keys are replaced as well.
    pub(crate) const fn replaces_all_keys(&self) -> bool {
        self.replaces
    }

    /// Creates a signing key under the new sealing key for each algorithm in use, unless there is one. They are published, and wait for their
    /// time as in a rotation, so that nothing is lost if this process ends. Until the known ones are withdrawn, those sign.
    pub(crate) async fn create_signing_keys(&self, policy: &Policy, store: &Store, act: &Act) -> Result<Vec<NextKey>, Error> {
        let (sealing, started, lead) = (self.sealing.sealing_with(&self.kid), Stopwatch::start(), policy.schedule().lead);
        // The clock of this machine may be behind those of the servers, by which the keys wait.
        let now = store.find_heartbeat().await?.map_or(act.now, |alive_at| alive_at.max(act.now));
        let mut next = Vec::new();
        'algorithms: for algorithm in store.list_algorithms_in_use().await? {
            for _ in 0..PASSES {
                let stored = store.list_signing_keys().await?;
                // A server may have planned the one after it, too, which waits for its own time.
                let oldest = stored.rows.iter().rfind(|row| row.algorithm == algorithm && self.can_sign(row, now));
                if let Some(row) = oldest {
                    next.push(NextKey { kid: row.kid.clone(), algorithm, generation: row.generation });
                    continue 'algorithms;
                }
                let generation = stored.newest_generation(algorithm).saturating_add(1);
                let mut row = rotation::create(policy, &sealing, algorithm, generation, act.now, now + lead).await?;
                // A large RSA key takes seconds.
                row.activates_at = (now + started.elapsed() + lead).to_whole_second();
                let predecessors_expire_at = policy.schedule().expiry_of(row.activates_at);
                // The next pass finds it, or that of a server which was first.
                store.insert_signing_key(act, "key.create", row, predecessors_expire_at).await?;
            }
            return Err(Error::ResealInterrupted);
        }
        Ok(next)
    }

    /// Whether a signing key is under the new sealing key, and signs or will.
    fn can_sign(&self, row: &SigningKeyRow, now: Timestamp) -> bool {
        let usable = row.revoked_at.is_none() && row.retires_at.is_none_or(|retires_at| retires_at > now);
        usable && sealing_kid(&row.sealed).as_ref() == Some(&self.kid)
    }

    /// Withdraws all signing keys that are not under the new sealing key, also those that do not sign yet or whose rows cannot be read: a
    /// server may have read them before.
    pub(crate) async fn withdraw_signing_keys(&self, store: &Store, act: &Act, done: &mut Resealed) -> Result<(), Error> {
        let (texts, unreadable) = store.list_sealed().await?;
        let mut kids = Vec::new();
        for SealedText { content, sealed } in texts {
            if let Content::SigningKey { kid, revoked: false, .. } = content
                && sealing_kid(&sealed).as_ref() != Some(&self.kid)
            {
                kids.push(kid);
            }
        }
        kids.extend(unreadable.into_iter().filter_map(|row| row.unrevoked_kid));
        for kid in kids {
            store.revoke_signing_key(act, &kid).await?;
            done.withdrawn.push(kid);
        }
        Ok(())
    }

    /// Lets the new signing keys sign at once.
    pub(crate) async fn activate_signing_keys(&self, policy: &Policy, store: &Store, act: &Act, next: &[NextKey]) -> Result<(), Error> {
        for NextKey { kid, algorithm, generation } in next {
            rotation::activate_at_once(policy, store, act, (kid, *algorithm, *generation)).await?;
        }
        Ok(())
    }

    /// The end: the old keys leave the file, and are kept in another one, because older backups need them.
    pub(crate) async fn end(self, policy: &Policy, store: &Store, output: Option<&Path>) -> Result<Retired, Error> {
        let _turn = SealingKeys::lock_folder(policy).await;
        self.sealing.refresh(store).await?;
        let canary = store.find_canary().await?.ok_or(Error::NotInitialized)?;
        let set = self.sealing.set();
        let overtaken = canary.successor.as_ref().is_some_and(|successor| successor.kid != self.kid);
        if overtaken || sealing_kid(&canary.sealed).as_ref() != Some(&self.kid) {
            return Err(Error::ResealInterrupted);
        }
        if canary.successor.is_none() {
            // Another process has completed it.
            return Ok(Retired::default());
        }
        let (new, old) = (set.filtered(|kid| kid == self.kid), set.filtered(|kid| kid != self.kid));
        let mut retired = Retired { kids: old.kids(), file: None };
        match (owned(&self.sealing, output), output) {
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

/// The file of the sealing keys, if this command may replace it and no other place was given. A link leads to a file that others manage, such as a
/// mounted secret. That a file is mounted itself shows only when it is replaced.
fn owned<'a>(sealing: &'a SealingKeys, output: Option<&Path>) -> Option<&'a KeyFile> {
    sealing.file().filter(|file| output.is_none() && !file.is_link())
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
