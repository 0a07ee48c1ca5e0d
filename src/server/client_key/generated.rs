//! New key pairs for clients.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use openssl::{
    ec::{EcGroup, EcKey},
    error::ErrorStack,
    nid::Nid,
    pkey::{PKey, Private},
    rsa::Rsa,
};
use zeroize::Zeroizing;

use super::{ClientKey, pem};
use crate::protocol::Algorithm;

/// The size of a new RSA key. It signs one assertion per token, so that its signatures may take longer than the server's.
const RSA_BITS: u32 = 3072;

/// A new key pair: its private half goes to the app, the public one to the database.
pub struct GeneratedKey {
    /// The public half.
    pub public: ClientKey,
    /// PKCS#8 in PEM.
    private: Zeroizing<Vec<u8>>,
}

impl GeneratedKey {
    /// Generates a key pair. One for RSA takes a tenth of a second to several seconds.
    ///
    /// # Errors
    ///
    /// If the algorithm is none of RS256, PS256, ES256 and Ed25519, or OpenSSL fails.
    pub fn new(algorithm: Algorithm) -> Result<Self, String> {
        let key = generate(algorithm).map_err(|error| error.to_string())?;
        let key = key.ok_or_else(|| format!("clients do not sign with {algorithm}: use RS256, PS256, ES256 or Ed25519"))?;
        let private = Zeroizing::new(key.private_key_to_pem_pkcs8().map_err(|error| error.to_string())?);
        let public = pem::public_key(&key).map_err(|error| error.to_string())?;
        let (public, _) = public.ok_or("the new key has no usable public half")?;
        Ok(Self { public: ClientKey::new(None, algorithm, public).map_err(|error| error.to_string())?, private })
    }

    /// Writes the private key to a new file, as PKCS#8 in PEM, that only this user can read.
    ///
    /// # Errors
    ///
    /// If there is a file at the path already, or it cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let target = std::path::absolute(path)?;
        let folder = target.parent().ok_or(io::ErrorKind::NotFound)?;
        let opened = fs::File::open(folder)?;
        // It appears under its name complete or not at all, and has mode 0600 from the start.
        let mut file = tempfile::Builder::new().prefix(".sealwright-key-").tempfile_in(folder)?;
        file.write_all(&self.private)?;
        file.as_file().sync_all()?;
        file.persist_noclobber(&target).map_err(|error| error.error)?;
        // Its public half is not stored yet: without a file that stays, there must be none.
        opened.sync_all().inspect_err(|_| drop(fs::remove_file(&target)))
    }
}

fn generate(algorithm: Algorithm) -> Result<Option<PKey<Private>>, ErrorStack> {
    Ok(Some(match algorithm {
        Algorithm::Rs256 | Algorithm::Ps256 => PKey::from_rsa(Rsa::generate(RSA_BITS)?)?,
        Algorithm::Es256 => PKey::from_ec_key(EcKey::generate(&*EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?)?)?,
        Algorithm::EdDsa => PKey::generate_ed25519()?,
        _ => return Ok(None),
    }))
}
