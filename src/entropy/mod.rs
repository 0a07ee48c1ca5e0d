//! The one source of randomness: the operating system, through aws-lc-rs.

#[cfg(feature = "server")]
mod server;

use std::time::Duration;

#[cfg(feature = "server")]
pub(crate) use server::{SystemRng, unique_id};

/// `N` unpredictable bytes.
///
/// # Panics
///
/// If the operating system provides no randomness. Every secret, key and token id made without it would be guessable.
#[must_use]
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

fn fill(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the operating system provides random bytes");
}

/// A random part of `span`, so that many processes do not act at the same moment.
#[must_use]
pub(crate) fn jitter(span: Duration) -> Duration {
    span.mul_f64(f64::from(u32::from_ne_bytes(bytes())) / f64::from(u32::MAX))
}
