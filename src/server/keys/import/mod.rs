//! Private keys from elsewhere: how a file is read, which keys are refused, and when an imported key signs.

mod encoding;
mod file;
mod published;
mod refused;
mod rsa;
mod successor;

use std::path::{Path, PathBuf};

use openssl::{
    ec::{EcGroup, EcKey},
    error::ErrorStack,
    nid::Nid,
    pkey::{Id, PKey, Private},
};
use zeroize::Zeroizing;

pub(crate) use refused::Refused;
pub(crate) use successor::NotImported;

use super::signer::{self, NewKey};
use crate::protocol::Algorithm;

/// A file that should contain a private key, as it was read.
pub(crate) struct KeyFile {
    path: PathBuf,
    content: Zeroizing<Vec<u8>>,
}

/// A private key that this server may sign with.
pub(crate) struct ForeignKey {
    algorithm: Algorithm,
    key: NewKey,
}

impl KeyFile {
    /// Reads a file that only its owner, and perhaps its group, may read.
    pub(crate) fn read(path: &Path) -> Result<Self, Refused> {
        Ok(Self { path: path.to_owned(), content: file::read(path)? })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether [`Self::open`] needs a passphrase.
    pub(crate) fn is_encrypted(&self) -> bool {
        matches!(encoding::read(&self.content, None), Err(Refused::Encrypted))
    }

    /// Reads the key, and checks that the server may sign with it.
    pub(crate) fn open(&self, algorithm: Algorithm, passphrase: Option<&[u8]>) -> Result<ForeignKey, Refused> {
        let pkcs8 = checked(algorithm, encoding::read(&self.content, passphrase)?)?;
        let key = signer::read(algorithm, pkcs8).map_err(|error| Refused::Library(error.to_string()))?;
        match published::source(key.public_jwk.kid()) {
            Some(source) => Err(Refused::Published(source)),
            None => Ok(ForeignKey { algorithm, key }),
        }
    }
}

/// Checks the type and the numbers of a key, and encodes it as the server's own: PKCS#8, with the curve by its name.
fn checked(algorithm: Algorithm, key: PKey<Private>) -> Result<Zeroizing<Vec<u8>>, Refused> {
    let key = match (algorithm, key.id()) {
        (Algorithm::Rs256 | Algorithm::Ps256, Id::RSA) => {
            rsa::require_strong(&*key.rsa()?)?;
            key
        }
        (Algorithm::Es256, Id::EC) => {
            let ec = key.ec_key()?;
            let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
            let same = ec.group().curve_name() == Some(Nid::X9_62_PRIME256V1);
            if !same {
                return Err(other_type(algorithm, &key));
            }
            let ec = EcKey::from_private_components(&group, ec.private_key(), ec.public_key())?;
            // EC_KEY_check_key: the public point is on the curve, and the private key times the generator.
            ec.check_key().map_err(|_| Refused::Inconsistent)?;
            PKey::from_ec_key(ec)?
        }
        (Algorithm::EdDsa, Id::ED25519) => key,
        _ => return Err(other_type(algorithm, &key)),
    };
    Ok(Zeroizing::new(key.private_key_to_pkcs8()?))
}

fn other_type(algorithm: Algorithm, key: &PKey<Private>) -> Refused {
    let curve = || key.ec_key().ok()?.group().curve_name()?.long_name().ok();
    let found = match key.id() {
        Id::RSA => "an RSA key".to_owned(),
        Id::RSA_PSS => "an RSA key that its file restricts to PSS (id-RSASSA-PSS)".to_owned(),
        Id::EC => format!("a key on the curve {}", curve().unwrap_or("of a file")),
        Id::ED25519 => "an Ed25519 key".to_owned(),
        Id::ED448 => "an Ed448 key".to_owned(),
        Id::X25519 | Id::X448 | Id::DH => "a key for key agreement".to_owned(),
        Id::DSA => "a DSA key".to_owned(),
        _ => "a key of another type".to_owned(),
    };
    let needed = match algorithm {
        Algorithm::Es256 => "a key on the curve P-256 (prime256v1)",
        Algorithm::EdDsa => "an Ed25519 key",
        _ => "an RSA key (rsaEncryption)",
    };
    Refused::OtherType { found, algorithm, needed }
}

impl From<ErrorStack> for Refused {
    /// OpenSSL's errors name its functions and reasons, not the content that it reads.
    fn from(error: ErrorStack) -> Self {
        Self::Library(error.to_string())
    }
}
