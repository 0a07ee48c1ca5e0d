//! Randomness in the forms that the server needs.

use std::convert::Infallible;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rand_core::{TryCryptoRng, TryRng};

use super::{bytes, fill};

/// 128 unpredictable bits as 22 characters of base64url: unique without coordination.
#[must_use]
pub(crate) fn unique_id() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes::<16>())
}

/// The same source for libraries that take a generator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemRng;

impl TryRng for SystemRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_ne_bytes(bytes()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_ne_bytes(bytes()))
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        fill(dst);
        Ok(())
    }
}

impl TryCryptoRng for SystemRng {}
