//! Many verifiers in one process, as many APIs would have: `tests/rotation/run` asks them about each token while the issuer rotates its keys.
//!
//! ```sh
//! ISSUER=http://localhost:8080 AUDIENCE=https://orders.example DIVISOR=1 cargo run --example many_verifiers -- 20 4
//! ```
//!
//! The first argument is the number of verifiers; the second says how many of them, in turn, check each token. Each line of standard input is
//! `NUMBER TOKEN`, and is answered by `NUMBER ACCEPTED REFUSED REASON`. `NUMBER!` asks all of them. `DIVISOR` is by how much the times of the
//! issuer's schedule are divided.

use std::{
    env,
    error::Error,
    io::{self, BufWriter, Write},
    num::NonZeroU32,
    sync::{Arc, mpsc},
    thread,
};

use futures_util::future::join_all;
use sealwright::verifier::Verifier;
use tokio::{sync::mpsc::unbounded_channel, task::JoinSet};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(count), Some(share), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: many_verifiers COUNT SHARE".into());
    };
    let (count, share): (usize, usize) = (count.parse()?, share.parse()?);
    let divisor: NonZeroU32 = env::var("DIVISOR")?.parse()?;
    let (issuer, audience) = (env::var("ISSUER")?, env::var("AUDIENCE")?);
    let build = || Verifier::for_issuer(&issuer).audience(&audience).divide_pauses_by(divisor).build();
    let verifiers = Arc::new((0..count).map(|_| build()).collect::<Result<Vec<_>, _>>()?);

    // Threads of their own read and write, so that a token waits for nothing but its verifiers.
    let (read, mut lines) = unbounded_channel();
    thread::spawn(move || io::stdin().lines().try_for_each(|line| read.send(line)));
    let (answer, answers) = mpsc::channel();
    let writing = thread::spawn(move || write(&answers));
    let (mut checks, mut turn) = (JoinSet::new(), 0);
    while let Some(line) = lines.recv().await {
        let line = line?;
        let (number, token) = line.split_once(' ').ok_or("a line is `NUMBER TOKEN`")?;
        let asked = if number.ends_with('!') { count } else { share };
        let (verifiers, answer, from) = (Arc::clone(&verifiers), answer.clone(), turn);
        let (number, token) = (number.to_owned(), token.to_owned());
        checks.spawn(async move { answer.send(format!("{number} {}\n", check(&verifiers, &token, from, asked).await)) });
        turn = (turn + asked) % count;
        while checks.try_join_next().is_some() {}
    }
    checks.join_all().await;
    drop(answer);
    writing.join().map_err(|_| "the answers could not be written")??;
    Ok(())
}

/// Asks some of the verifiers about a token, and returns `ACCEPTED REFUSED REASON`.
async fn check(verifiers: &[Verifier], token: &str, from: usize, asked: usize) -> String {
    let (mut accepted, mut reason) = (0, String::new());
    for outcome in join_all(verifiers.iter().cycle().skip(from).take(asked).map(|verifier| verifier.verify(token))).await {
        match outcome {
            Ok(_) => accepted += 1,
            Err(error) => reason = format!(" {}: {error}", error.code()),
        }
    }
    format!("{accepted} {}{reason}", asked - accepted)
}

/// Writes answers as they come, and many at once if they come fast.
fn write(answers: &mpsc::Receiver<String>) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout());
    while let Ok(first) = answers.recv() {
        out.write_all(first.as_bytes())?;
        for next in answers.try_iter() {
            out.write_all(next.as_bytes())?;
        }
        out.flush()?;
    }
    Ok(())
}
