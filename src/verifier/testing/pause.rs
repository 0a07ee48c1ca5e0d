//! A verifier for an issuer whose schedule is compressed.

use std::num::NonZeroU32;

use crate::verifier::Builder;

impl Builder {
    /// Divides the pauses between fetches of the keys, for a test in which an issuer rotates its keys every few seconds and sends a `max-age`
    /// of seconds. With 10, a token with an unknown key may cause a fetch one second after the last one, instead of 10 s.
    pub const fn divide_pauses_by(mut self, divisor: NonZeroU32) -> Self {
        self.pause_divisor = divisor.get();
        self
    }
}
