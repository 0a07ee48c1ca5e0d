//! The public half of a key as OpenSSL has it.

use openssl::{
    bn::{BigNum, BigNumContext},
    error::ErrorStack,
    nid::Nid,
    pkey::{Id, PKeyRef, Public},
};

use crate::protocol::{Algorithm, PublicKey};

/// The public key, and the usual algorithm of its type. `None` if its type is not supported.
pub(super) fn public_key(key: &PKeyRef<Public>) -> Result<Option<(PublicKey, Algorithm)>, ErrorStack> {
    Ok(match key.id() {
        Id::RSA => {
            let rsa = key.rsa()?;
            PublicKey::rsa(&rsa.n().to_vec(), &rsa.e().to_vec()).ok().map(|key| (key, Algorithm::Rs256))
        }
        Id::EC => {
            let ec = key.ec_key()?;
            if ec.group().curve_name() != Some(Nid::X9_62_PRIME256V1) {
                return Ok(None);
            }
            let (mut x, mut y) = (BigNum::new()?, BigNum::new()?);
            ec.public_key().affine_coordinates(ec.group(), &mut x, &mut y, &mut *BigNumContext::new()?)?;
            let (x, y) = (x.to_vec_padded(32)?.try_into(), y.to_vec_padded(32)?.try_into());
            x.ok().zip(y.ok()).map(|(x, y)| (PublicKey::Ec { x, y }, Algorithm::Es256))
        }
        Id::ED25519 => key.raw_public_key()?.try_into().ok().map(|x| (PublicKey::Okp { x }, Algorithm::EdDsa)),
        _ => None,
    })
}
