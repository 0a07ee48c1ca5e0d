//! What the libraries cost alone: signatures by aws-lc-rs and argon2id, on every core at once, as a saturated server uses them.
//!
//! `raw SECONDS` runs each for so long, and prints microseconds of CPU time per signature or hash as one line of JSON.

use std::{hint::black_box, thread, time::Duration};

use argon2::{Algorithm::Argon2id, Argon2, Block, Params, Version};
use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair},
};
use rustix::time::{ClockId, clock_gettime};
use sealwright_benches::unsigned;
use serde_json::{Map, Value};

fn clock(id: ClockId) -> Duration {
    let time = clock_gettime(id);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Microseconds of CPU time per call of what `prepare` makes for each thread.
fn measure<W: FnMut()>(seconds: Duration, prepare: impl Fn() -> W + Sync) -> f64 {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let costs: Vec<f64> = thread::scope(|scope| {
        let run = || {
            let mut work = prepare();
            work();
            let (begun, before, mut calls) = (clock(ClockId::Monotonic), clock(ClockId::ThreadCPUTime), 0_u32);
            while clock(ClockId::Monotonic) - begun < seconds {
                work();
                calls += 1;
            }
            (clock(ClockId::ThreadCPUTime) - before).as_secs_f64() * 1e6 / f64::from(calls)
        };
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().expect("it measures")).collect()
    });
    costs.iter().sum::<f64>() / costs.len() as f64
}

fn rsa(seconds: Duration, name: &str, padding: &'static dyn RsaEncoding) -> f64 {
    let (key, unsigned) = (RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"), unsigned(name));
    measure(seconds, || {
        let mut signature = vec![0; key.public_modulus_len()];
        let (key, unsigned) = (&key, &unsigned);
        move || key.sign(padding, &SystemRandom::new(), black_box(unsigned.as_bytes()), &mut signature).expect("a signature")
    })
}

fn es256(seconds: Duration) -> f64 {
    let (key, unsigned) = (EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"), unsigned("ES256"));
    measure(seconds, || {
        || {
            black_box(key.sign(&SystemRandom::new(), black_box(unsigned.as_bytes())).expect("a signature"));
        }
    })
}

fn ed25519(seconds: Duration) -> f64 {
    let (key, unsigned) = (Ed25519KeyPair::generate().expect("a key"), unsigned("Ed25519"));
    measure(seconds, || {
        || {
            black_box(key.sign(black_box(unsigned.as_bytes())));
        }
    })
}

/// With the server's default parameters, and memory that is kept.
fn argon2id(seconds: Duration) -> f64 {
    const MEMORY_KIB: u32 = 19_456;
    let argon2 = Argon2::new(Argon2id, Version::V0x13, Params::new(MEMORY_KIB, 2, 1, None).expect("parameters"));
    measure(seconds, || {
        let (argon2, mut memory) = (&argon2, vec![Block::default(); MEMORY_KIB as usize]);
        move || {
            let mut hash = [0; 32];
            argon2.hash_password_into_with_memory(b"correct horse battery", &[7; 16], &mut hash, &mut memory).expect("a hash");
            black_box(hash);
        }
    })
}

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).map_or(Duration::from_secs(2), Duration::from_secs_f64);
    let costs = [
        ("RS256", rsa(seconds, "RS256", &RSA_PKCS1_SHA256)),
        ("PS256", rsa(seconds, "PS256", &RSA_PSS_SHA256)),
        ("ES256", es256(seconds)),
        ("Ed25519", ed25519(seconds)),
        ("argon2id", argon2id(seconds)),
    ];
    let costs: Map<String, Value> = costs.into_iter().map(|(name, cost)| (name.to_owned(), cost.into())).collect();
    println!("{}", Value::from(costs));
}
