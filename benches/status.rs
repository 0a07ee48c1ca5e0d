//! What looking up the status of a token costs: complete verifications of one token, by a verifier that looks it up and by one that ignores it.
//!
//! The difference is less than a hundredth of a verification. So the two take turns, a few milliseconds each, and the difference is the median of
//! those between neighbors: what else the machine does meanwhile concerns both. The same between two verifiers that both ignore the status shows how
//! exact that is. The time is that of the system, as in production, where reading it is a part of the cost.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use sealwright::{
    clock::SystemClock,
    verifier::{Revocation, Verifier, testing::Issuer},
};
use sealwright_benches::AUDIENCE;

/// The number of verifications that are timed together.
const BATCH: u32 = 100;
const ROUNDS: usize = 3_000;
/// The most that the look-up of a token that passes may cost, in nanoseconds.
const WANTED: f64 = 100.0;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let issuer = runtime.block_on(Issuer::start()).expect("an issuer");
    let verifier = |revocation| -> Verifier {
        let builder = issuer.verifier(AUDIENCE).revocation(revocation).clock(Arc::new(SystemClock));
        let verifier = builder.build().expect("a verifier");
        runtime.block_on(verifier.ready()).expect("the keys");
        verifier
    };
    let (off, other, lenient) = (verifier(Revocation::Off), verifier(Revocation::Off), verifier(Revocation::Lenient));
    let token = || issuer.token(AUDIENCE).scope("orders:read").lifetime(Duration::from_secs(3600));
    let plain = token().sign().expect("a token");
    let revocable = token().revocable().sign().expect("a token");
    // It has the list from here on, and fetches it again in the background.
    runtime.block_on(lenient.verify(&revocable)).expect("genuine");

    // The first is the one that the others are compared with.
    let cases = [
        ("ignored", &off, &revocable),
        ("ignored by another", &other, &revocable),
        ("looked up", &lenient, &revocable),
        ("no status", &off, &plain),
    ];
    let mut rounds = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let mut ns = [0.0; 4];
        // None always comes after the same one.
        for turn in 0..cases.len() {
            let case = (round + if round % 2 == 0 { turn } else { cases.len() - turn }) % cases.len();
            let (_, verifier, token) = cases[case];
            ns[case] = time(verifier, token);
        }
        rounds.push(ns);
    }

    println!("{:<20} {:>8} {:>14} {:>10} {:>10} {:>14}", "", "ns", "above ignored", "quartile", "quartile", "times ignored");
    let ignored = quantile(rounds.iter().map(|ns| ns[0]), 0.5);
    for (case, (name, ..)) in cases.iter().enumerate() {
        let above = |part| quantile(rounds.iter().map(|ns| ns[case] - ns[0]), part);
        let ns = quantile(rounds.iter().map(|ns| ns[case]), 0.5);
        let (low, median, high) = (above(0.25), above(0.5), above(0.75));
        println!("{name:<20} {ns:>8.0} {median:>+14.0} {low:>+10.0} {high:>+10.0} {:>14.4}", 1.0 + median / ignored);
    }
    let cost = quantile(rounds.iter().map(|ns| ns[2] - ns[0]), 0.5);
    println!("\nlooking up a token that passes costs {cost:.0} ns (at most {WANTED:.0} wanted)");
}

/// Nanoseconds per verification.
fn time(verifier: &Verifier, token: &str) -> f64 {
    let begun = Instant::now();
    for _ in 0..BATCH {
        black_box(verifier.verify_cached(black_box(token)).expect("genuine"));
    }
    begun.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH)
}

fn quantile(values: impl Iterator<Item = f64>, part: f64) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[(values.len() as f64 * part) as usize]
}
