//! Which RSA keys are too weak to sign with.

use std::cmp::Ordering;

use openssl::{
    bn::{BigNum, BigNumContext, BigNumRef},
    error::ErrorStack,
    pkey::Private,
    rsa::RsaRef,
};

use super::Refused;

const SHORTEST: i32 = 2048;
const LONGEST: i32 = 4096;
/// The longest public exponent that aws-lc accepts (`is_public_component_of_rsa_key_good` in crypto/fipsmodule/rsa/rsa_impl.c), with which this server
/// signs, and many verifiers check.
const LONGEST_EXPONENT: i32 = 33;

/// Refuses a key whose private half can be found from its public one, or whose numbers do not belong together.
///
/// The order matters: the cheap checks come first, so that no file can make the others slow.
pub(super) fn require_strong(key: &RsaRef<Private>) -> Result<(), Refused> {
    let (n, e) = (key.n(), key.e());
    let bits = n.num_bits();
    match bits {
        ..SHORTEST => return Err(Refused::TooShort(bits)),
        SHORTEST..=LONGEST => {}
        _ => return Err(Refused::TooLarge(bits)),
    }
    if e.num_bits() == 1 {
        return Err(Refused::ExponentOne);
    }
    if !e.is_odd() {
        return Err(Refused::ExponentEven);
    }
    if e.num_bits() > LONGEST_EXPONENT {
        return Err(Refused::ExponentTooLarge(e.num_bits()));
    }
    let (Some(p), Some(q)) = (key.p(), key.q()) else { return Err(Refused::NoPrimes) };
    if p.num_bits() < 2 || q.num_bits() < 2 {
        return Err(Refused::NoPrimes);
    }
    let mut product = BigNum::new()?;
    product.checked_mul(p, q, &mut *BigNumContext::new()?)?;
    if product.ucmp(n) != Ordering::Equal {
        return Err(Refused::OtherModulus);
    }
    // Without this, elliptic curves find the shorter one (FIPS 186-5 A.1.3 wants them of equal length).
    if [p, q].iter().any(|prime| prime.num_bits() != bits / 2 && prime.num_bits() != (bits + 1) / 2) {
        return Err(Refused::UnequalPrimes);
    }
    if distance_bits(p, q)? <= bits / 2 - 100 {
        return Err(Refused::ClosePrimes);
    }
    // RSA_check_key: p and q are prime, n is their product, d is the inverse of e modulo lcm(p - 1, q - 1), and the values for the Chinese remainder
    // theorem follow from them. As e is short, d cannot be short enough for the attacks on small private exponents.
    if !key.check_key().unwrap_or(false) {
        return Err(Refused::Inconsistent);
    }
    if has_roca_fingerprint(n)? { Err(Refused::Roca) } else { Ok(()) }
}

/// The number of bits of |p - q|.
///
/// FIPS 186-5 A.1.3 wants more than nlen / 2 - 100. Fermat's method needs (p - q)^2 / (8 sqrt(n)) steps, so that it is hopeless then.
fn distance_bits(p: &BigNumRef, q: &BigNumRef) -> Result<i32, ErrorStack> {
    let mut distance = BigNum::new()?;
    distance.checked_sub(p, q)?;
    let bits = distance.num_bits();
    distance.clear();
    Ok(bits)
}

/// Whether a modulus has the structure of CVE-2017-15361 (Nemec, Sys, Svenda, Klinec, Matyas: "The Return of Coppersmith's Attack", 2017).
///
/// The faulty library takes primes p = k * M + (65537^a mod M), where M is the product of the first primes. So the modulus is a power of 65537 modulo
/// each of them. Of other moduli, fewer than one in 10^8 are.
fn has_roca_fingerprint(n: &BigNumRef) -> Result<bool, ErrorStack> {
    // The primes of M for the shortest keys. Those of longer keys begin with them.
    const PRIMES: [u32; 38] = [
        3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131,
        137, 139, 149, 151, 157, 163, 167,
    ];
    for prime in PRIMES {
        if !is_power_of_65537(n.mod_word(prime)?, u64::from(prime)) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_power_of_65537(residue: u64, prime: u64) -> bool {
    let mut power = 1;
    loop {
        if power == residue {
            return true;
        }
        power = power * 65537 % prime;
        if power == 1 {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_powers_of_65537_are_as_many_as_its_order() {
        // The order of 65537 modulo the primes.
        let powers = |prime: u64| (1..prime).filter(|residue| is_power_of_65537(*residue, prime)).count();
        for (prime, count) in [(3, 2), (5, 4), (11, 2), (13, 6), (17, 8), (19, 9), (37, 3), (97, 6), (151, 50)] {
            assert_eq!(powers(prime), count, "modulo {prime}");
        }
        assert!(!is_power_of_65537(0, 11));
    }
}
