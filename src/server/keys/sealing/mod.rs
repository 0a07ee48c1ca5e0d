//! The sealing key: the symmetric key that encrypts private keys in the database.
//!
//! A sealed text is a JWE (RFC 7516) with `dir` and `A256GCM`. The header's `kid` names the sealing key; `sealed_kid`,
//! `sealed_generation` and, of a signing key, `sealed_alg` name the content, so that a text that was copied into another row, or whose row
//! was changed, does not open.

mod key_file;
mod key_set;

use std::{fmt, fs, io, sync::Arc};

use arc_swap::ArcSwap;
use josekit::{
    JoseError, JoseHeader, Value,
    jwe::{self, Dir, JweDecrypter, JweHeader, alg::direct::DirectJweDecrypter},
};
use zeroize::Zeroizing;

use super::{Error, Policy, first_start_mark::FirstStartMark};
use crate::{
    protocol::Algorithm,
    server::{
        custody,
        store::{self, Canary, Store},
    },
};

pub(super) use key_file::KeyFile;
pub(super) use key_set::KeySet;

const CANARY: Sealed<'static> = Sealed { kid: "canary", generation: 0, algorithm: None };
const CANARY_TEXT: &[u8] = b"sealwright";

/// Identifies the content of a sealed text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sealed<'a> {
    pub(super) kid: &'a str,
    pub(super) generation: i64,
    /// The algorithm of a signing key.
    pub(super) algorithm: Option<Algorithm>,
}

impl Sealed<'_> {
    /// Whether a header names this content. One without an algorithm is of a text that is not a signing key, or of a signing key of an earlier
    /// version, which had only RS256.
    fn is_named_by(self, header: &JweHeader) -> bool {
        let named = match header.claim("sealed_alg") {
            Some(name) => self.algorithm.is_some_and(|algorithm| name == algorithm.as_str()),
            None => self.algorithm.is_none_or(|algorithm| algorithm == Algorithm::Rs256),
        };
        named
            && header.claim("sealed_kid") == Some(&Value::from(self.kid))
            && header.claim("sealed_generation") == Some(&Value::from(self.generation))
    }
}

/// The sealing keys. All of them open, so that a key can be replaced while texts under the old one still exist. The one under which the
/// database's canary is seals: so all nodes change from one key to the next in the moment in which one of them rewrites the canary.
///
/// ```text
/// {"keys": [{"kty": "oct", "use": "enc", "kid": "...", "k": "<256 bits in base64url>"}]}      a JWK set, RFC 7517
/// ```
///
/// Clones share the keys: [`Self::refresh`] replaces them for all.
#[derive(Clone)]
pub(crate) struct SealingKeys {
    held: Arc<ArcSwap<Held>>,
    source: Arc<Source>,
}

/// The keys in memory.
struct Held {
    set: KeySet,
    /// The kid of the key that seals.
    seals: String,
}

/// Where the keys are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// The setting `sealing_key`, which changes only at a restart.
    Setting,
    File(KeyFile),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting => f.write_str("the setting sealing_key"),
            Self::File(file) => file.path().display().fmt(f),
        }
    }
}

impl fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingKeys").field("kids", &self.kids()).field("source", &self.source).finish()
    }
}

impl SealingKeys {
    /// Opens the sealing keys of this database. If the database has none, creates one.
    ///
    /// The file is written before the canary, so that there is no database whose sealing key was never written.
    pub(crate) async fn open_or_create(policy: &Policy, store: &Store) -> Result<Self, Error> {
        let mut made = false;
        let file = KeyFile::of(policy);
        if store.find_canary().await?.is_none() {
            if policy.sealing_key.is_none() {
                custody::make_folder(&policy.dir).map_err(|source| file.error(source))?;
            }
            let turn = Self::lock_folder(policy).await;
            let (set, source) = match Self::read(policy)? {
                Some(found) => found,
                None => {
                    made = Self::create(policy)?;
                    Self::read(policy)?.ok_or_else(|| file.error(io::ErrorKind::NotFound.into()))?
                }
            };
            let seals = set.kids().swap_remove(0);
            let keys = Self::holding(set, seals, source);
            let (sealed, origin) = keys.seal_canary()?;
            let canary = Canary::first(sealed, origin);
            store.insert_canary_unless_there(canary).await?;
            drop(turn);
        }
        FirstStartMark::of(policy).end();
        match Self::open_existing(policy, store).await {
            // Another machine has just initialized the database with a key of its own; the key that was created here opens nothing.
            Err(Error::SealingKeyWrong { origin, .. }) if made => {
                fs::remove_file(file.path()).map_err(|source| file.error(source))?;
                Err(Error::SealingKeyMissing { place: file.path().to_owned(), origin })
            }
            outcome => outcome,
        }
    }

    /// Opens the sealing keys of a database that has been initialized.
    pub(crate) async fn open_existing(policy: &Policy, store: &Store) -> Result<Self, Error> {
        match Self::open_once(policy, store).await {
            // The key may have been replaced between the two reads.
            Err(Error::SealingKeyWrong { .. }) => Self::open_once(policy, store).await,
            outcome => outcome,
        }
    }

    async fn open_once(policy: &Policy, store: &Store) -> Result<Self, Error> {
        let found = Self::read(policy)?;
        let canary = store.find_canary().await?.ok_or(Error::NotInitialized)?;
        let Some((set, source)) = found else {
            return Err(Error::SealingKeyMissing { place: KeyFile::of(policy).path().to_owned(), origin: canary.origin });
        };
        let seals = key_of(&set, &canary, &source)?;
        Ok(Self::holding(set, seals, source))
    }

    fn holding(set: KeySet, seals: String, source: Source) -> Self {
        Self { held: Arc::new(ArcSwap::from_pointee(Held { set, seals })), source: Arc::new(source) }
    }

    /// Reads the file again, and which key seals. Keys that do not open the database are not taken over. Returns whether the keys differ from
    /// those before.
    pub(crate) async fn refresh(&self, store: &Store) -> Result<bool, Error> {
        let before = self.held.load_full();
        let read = match &*self.source {
            Source::Setting => before.set.clone(),
            Source::File(file) => {
                let reading = file.clone();
                let read = tokio::task::spawn_blocking(move || reading.read()).await.map_err(|e| file.error(io::Error::other(e)))??;
                read.ok_or_else(|| file.error(io::ErrorKind::NotFound.into()))?
            }
        };
        let canary = store.find_canary().await?.ok_or(Error::NotInitialized)?;
        let seals = key_of(&read, &canary, &self.source)?;
        let changed = read != before.set;
        if changed || seals != before.seals {
            self.held.store(Arc::new(Held { set: read, seals }));
        }
        Ok(changed)
    }

    /// The kids of all keys.
    pub(crate) fn kids(&self) -> Vec<String> {
        self.held.load().set.kids()
    }

    /// Where the sealing keys are, if there are any.
    pub(crate) fn find_place(policy: &Policy) -> Result<Option<String>, Error> {
        Ok(Self::read(policy)?.map(|(_, source)| source.to_string()))
    }

    /// Whether a first start created these keys and was interrupted before the database held their issuer.
    pub(crate) fn is_first_start_unfinished(policy: &Policy) -> Result<bool, Error> {
        let kid = Self::read(policy)?.and_then(|(set, _)| set.kids().into_iter().next());
        Ok(policy.sealing_key.is_none() && kid.is_some_and(|kid| FirstStartMark::of(policy).is_of(&kid)))
    }

    /// Locks the folder against other processes on this machine that create an issuer in it or replace the sealing key, for as long as the
    /// returned file is open. Returns at once if folders cannot be locked or there is none.
    pub(crate) async fn lock_folder(policy: &Policy) -> Option<fs::File> {
        let dir = policy.dir.clone();
        let wait = move || fs::File::open(dir).ok().filter(|dir| dir.lock().is_ok());
        tokio::task::spawn_blocking(wait).await.ok().flatten()
    }

    /// All keys.
    pub(super) fn set(&self) -> KeySet {
        self.held.load().set.clone()
    }

    /// The file that they were read from, unless they are from the setting.
    pub(super) fn file(&self) -> Option<&KeyFile> {
        match &*self.source {
            Source::Setting => None,
            Source::File(file) => Some(file),
        }
    }

    /// The same keys, of which the one with this kid seals.
    pub(super) fn sealing_with(&self, kid: &str) -> Self {
        Self::holding(self.set(), kid.to_owned(), Source::clone(&self.source))
    }

    /// A new canary, and where its key is.
    pub(super) fn seal_canary(&self) -> Result<(String, String), Error> {
        Ok((self.seal(CANARY, CANARY_TEXT)?, origin(&self.place())))
    }

    /// Where they were read from, for messages.
    pub(crate) fn place(&self) -> String {
        self.source.to_string()
    }

    fn read(policy: &Policy) -> Result<Option<(KeySet, Source)>, Error> {
        if let Some(text) = &policy.sealing_key {
            let malformed = |why: &str| Error::SealingKeyMalformed { place: Source::Setting.to_string(), why: why.to_owned() };
            return KeySet::parse(text).map(|set| Some((set, Source::Setting))).map_err(malformed);
        }
        let file = KeyFile::of(policy);
        Ok(file.read()?.map(|set| (set, Source::File(file))))
    }

    /// Creates a new sealing key and its file, atomically. Returns false if another process was first.
    fn create(policy: &Policy) -> Result<bool, Error> {
        let (file, set) = (KeyFile::of(policy), KeySet::generate());
        FirstStartMark::of(policy).begin(&set.kids()[0]).map_err(|source| file.error(source))?;
        file.create(&set)
    }

    pub(super) fn seal(&self, what: Sealed<'_>, plain: &[u8]) -> Result<String, Error> {
        let sealed = || {
            let mut header = JweHeader::new();
            header.set_content_encryption("A256GCM");
            header.set_claim("sealed_kid", Some(what.kid.into()))?;
            header.set_claim("sealed_generation", Some(what.generation.into()))?;
            if let Some(algorithm) = what.algorithm {
                header.set_claim("sealed_alg", Some(algorithm.as_str().into()))?;
            }
            let held = self.held.load();
            let key = held.set.find(&held.seals).ok_or_else(|| JoseError::InvalidJwkFormat(io::Error::other("it is missing").into()))?;
            // josekit takes the nonce from OpenSSL's generator. With 96 random bits, four billion texts are safe.
            jwe::serialize_compact(plain, &header, &Dir.encrypter_from_jwk(key)?)
        };
        sealed().map_err(|error: JoseError| Error::Unopened(error.to_string()))
    }

    /// Opens a text that [`Self::seal`] made with one of these keys for the same content.
    pub(super) fn open(&self, what: Sealed<'_>, text: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        open_with(&self.held.load().set, what, text)
    }
}

fn open_with(set: &KeySet, what: Sealed<'_>, text: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let refuse = |why: &str| JoseError::InvalidJweFormat(io::Error::other(why.to_owned()).into());
    let open = || {
        let decrypters = set.keys().iter().map(|key| Dir.decrypter_from_jwk(key)).collect::<Result<Vec<DirectJweDecrypter>, _>>()?;
        // josekit 0.10 accepts a truncated GCM tag, which a forger could guess byte by byte.
        if text.rsplit('.').next().is_none_or(|tag| tag.len() != 22) {
            return Err(refuse("its tag is not 128 bits long"));
        }
        jwe::deserialize_compact_with_selector(text, |header| {
            if header.algorithm() != Some("dir") || header.content_encryption() != Some("A256GCM") {
                return Err(refuse("it is not dir with A256GCM"));
            }
            if header.claim("zip").is_some() || header.claim("crit").is_some() {
                return Err(refuse("its header requires an unsupported feature"));
            }
            if !what.is_named_by(header) {
                return Err(refuse("it was sealed for another purpose"));
            }
            let key = decrypters.iter().find(|decrypter| decrypter.key_id() == header.key_id());
            Ok(key.map(|key| key as &dyn JweDecrypter))
        })
    };
    open().map(|(plain, _)| Zeroizing::new(plain)).map_err(|error: JoseError| Error::Unopened(error.to_string()))
}

/// The kid of the key under which the canary is. It must open it.
fn key_of(set: &KeySet, canary: &Canary, source: &Source) -> Result<String, Error> {
    let wanted = store::sealing_kid(&canary.sealed).unwrap_or_else(|| "unknown".to_owned());
    let (place, origin) = (source.to_string(), canary.origin.clone());
    match open_with(set, CANARY, &canary.sealed) {
        Ok(text) if *text == CANARY_TEXT => return Ok(wanted),
        _ => {}
    }
    if let Source::File(file) = source
        && let Ok(Some(retired)) = file.of_retired().read()
        && retired.find(&wanted).is_some()
    {
        return Err(Error::SealingKeyRetired { place, retired: file.of_retired().path().to_owned(), wanted });
    }
    Err(Error::SealingKeyWrong { place, origin, wanted })
}

/// The path of the key file, on Linux with the host name: where to look for it if it is missing on another node.
fn origin(place: &str) -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match host.trim() {
        "" => place.to_owned(),
        host => format!("{host}: {place}"),
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    use josekit::jwk::Jwk;

    use super::*;

    fn sealing_keys(kid: &str, byte: u8) -> SealingKeys {
        let mut key = Jwk::new("oct");
        key.set_key_id(kid);
        key.set_key_value([byte; 32]);
        let set = KeySet::parse(&format!("{{\"keys\":[{key}]}}").into()).unwrap();
        SealingKeys::holding(set, kid.to_owned(), Source::Setting)
    }

    const WHAT: Sealed<'static> = Sealed { kid: "k", generation: 7, algorithm: Some(Algorithm::Rs256) };

    #[test]
    fn a_sealed_text_opens_only_with_its_key_and_for_its_content() {
        let keys = sealing_keys("one", 1);
        let text = keys.seal(WHAT, b"plain").unwrap();
        assert_eq!(*keys.open(WHAT, &text).unwrap(), b"plain");
        assert_eq!(store::sealing_kid(&text).as_deref(), Some("one"));

        assert!(keys.open(Sealed { generation: 8, ..WHAT }, &text).is_err());
        assert!(keys.open(Sealed { kid: "other", ..WHAT }, &text).is_err());
        assert!(sealing_keys("one", 2).open(WHAT, &text).is_err(), "another key under the same id");
        assert!(sealing_keys("two", 1).open(WHAT, &text).is_err(), "the same key under another id");
    }

    #[test]
    fn a_sealed_signing_key_opens_only_for_its_algorithm() {
        let keys = sealing_keys("one", 1);
        let of = |algorithm| Sealed { algorithm, ..WHAT };
        let all = [None, Some(Algorithm::Rs256), Some(Algorithm::Ps256), Some(Algorithm::Es256), Some(Algorithm::EdDsa)];
        for sealed_for in all {
            let text = keys.seal(of(sealed_for), b"plain").unwrap();
            for opened_for in all {
                // Earlier versions sealed RS256 keys without naming the algorithm.
                let opens = opened_for == sealed_for || (sealed_for.is_none() && opened_for == Some(Algorithm::Rs256));
                assert_eq!(keys.open(of(opened_for), &text).is_ok(), opens, "sealed for {sealed_for:?}, opened for {opened_for:?}");
            }
        }
    }

    #[test]
    fn a_truncated_or_rewritten_sealed_text_does_not_open() {
        let keys = sealing_keys("one", 1);
        let text = keys.seal(WHAT, b"plain").unwrap();
        let (body, tag) = text.rsplit_once('.').unwrap();
        let tag = BASE64_URL_SAFE_NO_PAD.decode(tag).unwrap();
        for kept in [0, 1, 4, 12, 15] {
            let cut = format!("{body}.{}", BASE64_URL_SAFE_NO_PAD.encode(&tag[..kept]));
            assert!(keys.open(WHAT, &cut).is_err(), "{kept} bytes of the tag");
        }
        // An attacker with write access to the database changes the generation in the header.
        let (header, rest) = text.split_once('.').unwrap();
        let header = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap().replace(":7", ":8");
        let rewritten = format!("{}.{rest}", BASE64_URL_SAFE_NO_PAD.encode(header));
        assert!(keys.open(Sealed { generation: 8, ..WHAT }, &rewritten).is_err());
    }
}
