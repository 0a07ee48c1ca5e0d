//! Private keys from elsewhere: good ones, and ones that are weak in a known way.

use std::iter;

use openssl::{
    bn::{BigNum, BigNumContext, BigNumRef},
    pkey::{PKey, Private},
    rsa::Rsa,
};

/// A random prime of so many bits, of which the first two are set.
fn prime(bits: i32) -> BigNum {
    let mut prime = BigNum::new().unwrap();
    prime.generate_prime(bits, false, None, None).unwrap();
    prime
}

fn number(value: u32) -> BigNum {
    BigNum::from_u32(value).unwrap()
}

fn power_of_two(bits: i32) -> BigNum {
    let mut power = BigNum::new().unwrap();
    power.lshift(&number(1), bits).unwrap();
    power
}

/// The first prime of `first`, `first + step`, ...
fn next_prime(first: BigNum, step: &BigNumRef) -> BigNum {
    let mut context = BigNumContext::new().unwrap();
    let mut candidate = first;
    while !candidate.is_prime_fasttest(0, &mut context, true).unwrap() {
        candidate = &candidate + step;
    }
    candidate
}

/// The key of two primes, whether or not they are good ones. `d` is taken where `e` has no inverse.
fn key_of(p: &BigNumRef, q: &BigNumRef, e: u32) -> Rsa<Private> {
    let mut context = BigNumContext::new().unwrap();
    let (one, e) = (number(1), number(e));
    let (p1, q1) = (p - &one, q - &one);
    let mut inverse = |of: &BigNumRef, modulo: &BigNumRef| {
        let mut inverse = BigNum::new().unwrap();
        inverse.mod_inverse(of, modulo, &mut context).map(|()| inverse)
    };
    let d = inverse(&e, &(&p1 * &q1)).unwrap_or_else(|_| number(3));
    let iqmp = inverse(q, p).unwrap();
    Rsa::from_private_components(p * q, e, d.to_owned().unwrap(), p.to_owned().unwrap(), q.to_owned().unwrap(), &d % &p1, &d % &q1, iqmp)
        .unwrap()
}

/// PKCS#8 in PEM.
pub(crate) fn pem(key: Rsa<Private>) -> String {
    String::from_utf8(PKey::from_rsa(key).unwrap().private_key_to_pem_pkcs8().unwrap()).unwrap()
}

pub(crate) fn rsa(bits: u32) -> Rsa<Private> {
    Rsa::generate(bits).unwrap()
}

/// Keys by which anyone can sign who has only the public half, or that are not keys at all, and what is said about each.
pub(crate) fn weak() -> Vec<(&'static str, Rsa<Private>)> {
    let (p, q, two) = (prime(1024), prime(1024), number(2));
    let close = next_prime(&(&p + &power_of_two(900)) + &two, &two);
    // As long as a prime: the product of two that begin with 11 may begin with 10, and that with `p` would be too short.
    let composite = iter::repeat_with(|| &prime(512) * &prime(512)).find(|composite| (&p * composite).num_bits() == 2048).unwrap();
    let good = key_of(&p, &q, 65537);
    let with = |n: BigNum, d: BigNum| {
        let part = |part: Option<&BigNumRef>| part.unwrap().to_owned().unwrap();
        let (dmp1, dmq1, iqmp) = (part(good.dmp1()), part(good.dmq1()), part(good.iqmp()));
        Rsa::from_private_components(n, number(65537), d, p.to_owned().unwrap(), q.to_owned().unwrap(), dmp1, dmq1, iqmp).unwrap()
    };
    let owned = |number: &BigNumRef| number.to_owned().unwrap();
    let long = BigNum::from_slice(&[2, 0, 0, 0, 1]).unwrap();
    let long_exponent = Rsa::generate_with_e(2048, &long).unwrap();
    vec![
        ("has 1024 bits: the server signs with 2048 to 4096", rsa(1024)),
        ("has 2047 bits: the server signs with 2048 to 4096", key_of(&prime(1023), &prime(1024), 65537)),
        ("has 4352 bits: the server signs with 2048 to 4096", key_of(&prime(2176), &prime(2176), 65537)),
        ("exponent of its RSA key is 1", key_of(&p, &q, 1)),
        ("exponent of its RSA key is even", key_of(&p, &q, 65536)),
        ("exponent of its RSA key has 34 bits", long_exponent),
        ("do not multiply to its modulus", with(&(&p * &q) + &two, owned(good.d()))),
        ("one prime of its RSA key is much shorter", key_of(&prime(256), &prime(1792), 65537)),
        ("too close together", key_of(&p, &close, 65537)),
        ("do not belong together", key_of(&p, &composite, 65537)),
        ("do not belong together", with(owned(good.n()), good.d() + &two)),
        ("ROCA, CVE-2017-15361", roca()),
    ]
}

/// A key as the faulty library made it: its primes are k * M + (65537^a mod M), where M is the product of the first 126 primes.
fn roca() -> Rsa<Private> {
    let mut context = BigNumContext::new().unwrap();
    let mut product = number(1);
    (2..702u32).filter(|n| (2..*n).all(|divisor| n % divisor != 0)).for_each(|prime| product.mul_word(prime).unwrap());
    let mut prime = |a: u32, first_k: &BigNumRef| {
        let mut residue = BigNum::new().unwrap();
        residue.mod_exp(&number(65537), &number(a), &product, &mut context).unwrap();
        next_prime(&(first_k * &product) + &residue, &product)
    };
    // Of 1,024 bits, the first two of them set.
    let k = &(&power_of_two(1022) * &number(3)) / &product;
    let (p, q) = (prime(1_000_003, &k), prime(7_654_321, &(&k + &number(1_000_000))));
    key_of(&p, &q, 65537)
}
