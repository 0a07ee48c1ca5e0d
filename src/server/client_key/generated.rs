//! New key pairs for clients.

use std::{io, path::Path};

use rsa::pkcs8::{LineEnding, SecretDocument};
use zeroize::Zeroizing;

use super::ClientKey;
use crate::{
    protocol::Algorithm,
    server::custody,
    signing::{KeyPair, generate_pkcs8},
};

/// The size of a new RSA key. It signs one assertion per token, so that its signatures may take longer than the server's.
const RSA_BITS: usize = 3072;

/// A new key pair: its private half goes to the app, the public one to the database.
pub struct GeneratedKey {
    /// The public half.
    pub public: ClientKey,
    /// PKCS#8 in PEM.
    private: Zeroizing<String>,
}

impl GeneratedKey {
    /// Generates a key pair. One for RSA takes a tenth of a second to several seconds.
    ///
    /// # Errors
    ///
    /// If the algorithm is none of RS256, PS256, ES256 and Ed25519, or the generation fails.
    pub fn new(algorithm: Algorithm) -> Result<Self, String> {
        let pkcs8 = generate_pkcs8(algorithm, RSA_BITS)?;
        let pair = KeyPair::from_pkcs8(algorithm, &pkcs8)?;
        let public = pair.public_key().ok_or("the public half of the new key is out of range")?;
        let public = ClientKey::new(None, algorithm, public).map_err(|error| error.to_string())?;
        let document = match &pair {
            // The first version: OpenSSL does not read the second (RFC 5958), which has the public half as well.
            KeyPair::Ed25519(pair) => pair.to_pkcs8v1().map_err(|error| error.to_string()).and_then(|der| secret(der.as_ref())),
            _ => secret(&pkcs8),
        };
        let private = document?.to_pem("PRIVATE KEY", LineEnding::LF).map_err(|error| error.to_string())?;
        Ok(Self { public, private })
    }

    /// Writes the private key to a new file, as PKCS#8 in PEM, that only this user can read.
    ///
    /// # Errors
    ///
    /// If there is a file at the path already, or it cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        custody::create(tempfile::Builder::new().prefix(".sealwright-key-"), path, self.private.as_bytes()).map(drop)
    }
}

fn secret(der: &[u8]) -> Result<SecretDocument, String> {
    SecretDocument::try_from(der).map_err(|error| error.to_string())
}
