//! What the status of a token costs: a complete verification of one token with its status looked up, and with it ignored, in one run.

use std::hint::black_box;

use sealwright::verifier::{Revocation, Verifier, testing::Issuer};
use sealwright_benches::{AUDIENCE, criterion, median_ns};

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (issuer, with, without) = runtime.block_on(async {
        let issuer = Issuer::start().await.expect("an issuer");
        let ready = async |revocation| -> Verifier {
            let verifier = issuer.verifier(AUDIENCE).revocation(revocation).build().expect("a verifier");
            verifier.ready().await.expect("the keys");
            verifier
        };
        let (with, without) = (ready(Revocation::Lenient).await, ready(Revocation::Off).await);
        (issuer, with, without)
    });
    let plain = issuer.token(AUDIENCE).scope("orders:read").sign().expect("a token");
    let revocable = issuer.token(AUDIENCE).scope("orders:read").revocable().sign().expect("a token");
    runtime.block_on(with.verify(&revocable)).expect("genuine");

    let mut criterion = criterion();
    let mut group = criterion.benchmark_group("status");
    for (name, verifier, token) in [
        ("no status", &with, &plain),
        ("ignored", &without, &revocable),
        ("looked up", &with, &revocable),
        ("no status, off", &without, &plain),
    ] {
        group.bench_function(name, |b| b.iter(|| verifier.verify_cached(black_box(token)).expect("genuine")));
    }
    group.finish();
    criterion.final_summary();

    let ignored = median_ns("status", "ignored");
    println!("\n{:<16} {:>10} {:>20} {:>20}", "", "ns", "ns above ignored", "times ignored");
    for name in ["no status, off", "no status", "ignored", "looked up"] {
        let median = median_ns("status", name);
        println!("{name:<16} {median:>10.0} {:>20.0} {:>20.4}", median - ignored, median / ignored);
    }
}
