//! The sealing key: the symmetric key that encrypts private keys in the database.
//!
//! A sealed text is a JWE (RFC 7516) with `dir` and `A256GCM`. The header's `kid` names the sealing key; `sealed_kid`,
//! `sealed_generation` and, of a signing key, `sealed_alg` name the content, so that a text that was copied into another row, or whose row
//! was changed, does not open.

use std::{fmt, fs, io, io::Write, path::PathBuf, sync::Arc};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use josekit::{
    JoseError, JoseHeader, Value,
    jwe::{self, Dir, JweDecrypter, JweHeader, alg::direct::DirectJweDecrypter},
    jwk::{Jwk, JwkSet},
};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::{Error, Policy, first_start_mark::FirstStartMark};
use crate::{
    entropy,
    protocol::Algorithm,
    server::{
        custody::{self, SecretFile},
        store::{Canary, Store},
    },
};

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

/// The sealing keys. The first one seals; all of them open, so that a key can be replaced while texts under the old one still exist.
///
/// ```text
/// {"keys": [{"kty": "oct", "use": "enc", "kid": "...", "k": "<256 bits in base64url>"}]}      a JWK set, RFC 7517
/// ```
#[derive(Clone)]
pub(crate) struct SealingKeys {
    keys: Arc<Vec<Jwk>>,
    /// Where they were read from, for messages.
    place: Arc<str>,
}

impl fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kids: Vec<_> = self.keys.iter().map(Jwk::key_id).collect();
        f.debug_struct("SealingKeys").field("kids", &kids).field("place", &self.place).finish()
    }
}

impl SealingKeys {
    /// Opens the sealing keys of this database. If the database has none, creates one.
    ///
    /// The file is written before the canary, so that there is no database whose sealing key was never written.
    pub(crate) async fn open_or_create(policy: &Policy, store: &Store) -> Result<Self, Error> {
        let mut made = false;
        if store.find_canary().await?.is_none() {
            if policy.sealing_key.is_none() {
                custody::make_folder(&policy.dir).map_err(|source| Error::File { place: file(policy), source: Arc::new(source) })?;
            }
            let turn = Self::lock_folder(policy).await;
            let keys = match Self::read(policy)? {
                Some(keys) => keys,
                None => {
                    made = Self::create(policy)?;
                    Self::read(policy)?
                        .ok_or_else(|| Error::File { place: file(policy), source: Arc::new(io::ErrorKind::NotFound.into()) })?
                }
            };
            let canary = Canary { sealed: keys.seal(CANARY, CANARY_TEXT)?, origin: origin(&keys.place) };
            store.insert_canary_unless_there(canary).await?;
            drop(turn);
        }
        FirstStartMark::of(policy).end();
        match Self::open_existing(policy, store).await {
            // Another machine has just initialized the database with a key of its own; the key that was created here opens nothing.
            Err(Error::SealingKeyWrong { origin, .. }) if made => {
                let place = file(policy);
                fs::remove_file(&place).map_err(|source| Error::File { place: place.clone(), source: Arc::new(source) })?;
                Err(Error::SealingKeyMissing { place, origin })
            }
            outcome => outcome,
        }
    }

    /// Opens the sealing keys of a database that has been initialized.
    pub(crate) async fn open_existing(policy: &Policy, store: &Store) -> Result<Self, Error> {
        let canary = store.find_canary().await?.ok_or(Error::NotInitialized)?;
        let Some(keys) = Self::read(policy)? else {
            return Err(Error::SealingKeyMissing { place: file(policy), origin: canary.origin });
        };
        match keys.open(CANARY, &canary.sealed) {
            Ok(text) if *text == CANARY_TEXT => Ok(keys),
            _ => Err(Error::SealingKeyWrong { place: keys.place.to_string(), origin: canary.origin, wanted: sealing_kid(&canary.sealed) }),
        }
    }

    /// Where the sealing keys are, if there are any.
    pub(crate) fn find_place(policy: &Policy) -> Result<Option<String>, Error> {
        Ok(Self::read(policy)?.map(|keys| keys.place.to_string()))
    }

    /// Whether a first start created these keys and was interrupted before the database held their issuer.
    pub(crate) fn is_first_start_unfinished(policy: &Policy) -> Result<bool, Error> {
        let kid = Self::read(policy)?.and_then(|found| Some(found.keys.first()?.key_id()?.to_owned()));
        Ok(policy.sealing_key.is_none() && kid.is_some_and(|kid| FirstStartMark::of(policy).is_of(&kid)))
    }

    /// Locks the folder against other processes on this machine that create an issuer in it, for as long as the returned file is open.
    /// Returns at once if folders cannot be locked or there is none.
    pub(crate) async fn lock_folder(policy: &Policy) -> Option<fs::File> {
        let dir = policy.dir.clone();
        let wait = move || fs::File::open(dir).ok().filter(|dir| dir.lock().is_ok());
        tokio::task::spawn_blocking(wait).await.ok().flatten()
    }

    /// Where they were read from, for messages.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    fn read(policy: &Policy) -> Result<Option<Self>, Error> {
        if let Some(text) = &policy.sealing_key {
            return Self::parse(text, "the setting sealing_key".to_owned()).map(Some);
        }
        let path = file(policy);
        custody::require_private(SecretFile::SealingKey, &path)?;
        let text = match fs::read_to_string(&path) {
            Ok(text) => SecretString::from(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::File { place: path, source: Arc::new(error) }),
        };
        Self::parse(&text, path.display().to_string()).map(Some)
    }

    fn parse(text: &SecretString, place: String) -> Result<Self, Error> {
        let refuse = |why: &str| Error::SealingKeyMalformed { place: place.clone(), why: why.to_owned() };
        // josekit's messages may repeat what they could not parse, so they are not passed on.
        let set = JwkSet::from_bytes(text.expose_secret()).map_err(|_| refuse("it is not a JWK set"))?;
        let keys: Vec<Jwk> = set.keys().into_iter().cloned().collect();
        if keys.is_empty() {
            return Err(refuse("it contains no key"));
        }
        for key in &keys {
            if key.key_type() != "oct" || key.key_id().is_none_or(str::is_empty) || key.key_value().is_none_or(|value| value.len() != 32) {
                return Err(refuse("each of its keys must have kty oct, a kid, and 256 bits in k"));
            }
        }
        Ok(Self { keys: Arc::new(keys), place: place.into() })
    }

    /// Creates a new sealing key and its file, atomically. Returns false if another process was first.
    fn create(policy: &Policy) -> Result<bool, Error> {
        let path = file(policy);
        let failed = |source: io::Error| Error::File { place: path.clone(), source: Arc::new(source) };
        let mut key = Jwk::new("oct");
        key.set_key_use("enc");
        let kid = entropy::unique_id();
        key.set_key_id(&kid);
        key.set_key_value(Zeroizing::new(entropy::bytes::<32>()).as_ref());
        let text = Zeroizing::new(format!("{{\"keys\":[{key}]}}\n"));

        FirstStartMark::of(policy).begin(&kid).map_err(failed)?;
        // A temporary file has mode 0600 from the start.
        let mut file = tempfile::NamedTempFile::new_in(&policy.dir).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
        match file.persist_noclobber(&path) {
            Ok(_) => fs::File::open(&policy.dir).and_then(|dir| dir.sync_all()).map(|()| true).map_err(failed),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(failed(error.error)),
        }
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
            // josekit takes the nonce from OpenSSL's generator. With 96 random bits, four billion texts are safe.
            jwe::serialize_compact(plain, &header, &Dir.encrypter_from_jwk(&self.keys[0])?)
        };
        sealed().map_err(|error: JoseError| Error::Unopened(error.to_string()))
    }

    /// Opens a text that [`Self::seal`] made with one of these keys for the same content.
    pub(super) fn open(&self, what: Sealed<'_>, text: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        let refuse = |why: &str| JoseError::InvalidJweFormat(io::Error::other(why.to_owned()).into());
        let open = || {
            let decrypters = self.keys.iter().map(|key| Dir.decrypter_from_jwk(key)).collect::<Result<Vec<DirectJweDecrypter>, _>>()?;
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
}

fn file(policy: &Policy) -> PathBuf {
    let dir = std::path::absolute(&policy.dir).unwrap_or_else(|_| policy.dir.clone());
    dir.join("sealing.key")
}

/// The path of the key file, on Linux with the host name: where to look for it if it is missing on another node.
fn origin(place: &str) -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match host.trim() {
        "" => place.to_owned(),
        host => format!("{host}: {place}"),
    }
}

/// The kid that a JWE names, unverified: for messages only.
fn sealing_kid(jwe: &str) -> String {
    let header = jwe.split('.').next().and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
    let header: Option<Value> = header.and_then(|json| serde_json::from_slice(&json).ok());
    header.and_then(|header| Some(header.get("kid")?.as_str()?.to_owned())).unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealing_keys(kid: &str, byte: u8) -> SealingKeys {
        let mut key = Jwk::new("oct");
        key.set_key_id(kid);
        key.set_key_value([byte; 32]);
        SealingKeys::parse(&format!("{{\"keys\":[{key}]}}").into(), "a test".to_owned()).unwrap()
    }

    const WHAT: Sealed<'static> = Sealed { kid: "k", generation: 7, algorithm: Some(Algorithm::Rs256) };

    #[test]
    fn a_sealed_text_opens_only_with_its_key_and_for_its_content() {
        let keys = sealing_keys("one", 1);
        let text = keys.seal(WHAT, b"plain").unwrap();
        assert_eq!(*keys.open(WHAT, &text).unwrap(), b"plain");
        assert_eq!(sealing_kid(&text), "one");

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

    #[test]
    fn an_invalid_sealing_key_is_refused_without_repeating_it() {
        for text in
            ["", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","kid":"a","k":"c2hvcnQ"}]}"#, r#"{"keys":[{"kty":"RSA","kid":"a"}]}"#]
        {
            let error = SealingKeys::parse(&(*text).into(), "a test".to_owned()).unwrap_err().to_string();
            assert!(error.contains("a test") && !error.contains("c2hvcnQ"), "{error}");
        }
    }
}
