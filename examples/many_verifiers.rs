//! Many verifiers in one process, as many APIs would have: `tests/rotation/run` asks them about each token while the issuer rotates its keys, and
//! `tests/revocation/run` while tokens are revoked.
//!
//! ```sh
//! ISSUER=http://localhost:8080 AUDIENCE=https://orders.example DIVISOR=1 NAME=orders cargo run --example many_verifiers -- 20 4
//! ```
//!
//! The first argument is the number of verifiers; the second says how many of them, in turn, check each token. Each line of standard input is
//! `NUMBER TOKEN`, and is answered by `NUMBER ACCEPTED REFUSED REASON`. `NUMBER!` asks all of them. `NUMBER?` watches the token: all of them are asked
//! again and again until they refuse it as revoked, and each then answers `NUMBER? VERIFIER ACCEPTED REFUSED`: when it last accepted the token, or
//! the watch began, and when it refused it, in seconds since 1970. `DIVISOR` is by how much the times of the issuer's schedule are divided. The
//! issuer sees the verifiers as `NAME-0`, `NAME-1` and so on.

#![expect(clippy::disallowed_methods, reason = "its times are compared with those of the drill, by the clock of the machine")]

use std::{
    env,
    error::Error,
    io::{self, BufWriter, Write},
    num::NonZeroU32,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures_util::future::join_all;
use sealwright::verifier::{self, Revocation, Verifier};
use tokio::{runtime::Handle, sync::mpsc::unbounded_channel, task::JoinSet};

/// How often each verifier is asked about a watched token.
const WATCH_EVERY: Duration = Duration::from_millis(250);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(count), Some(share), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: many_verifiers COUNT SHARE".into());
    };
    let (count, share): (usize, usize) = (count.parse()?, share.parse()?);
    let divisor: NonZeroU32 = env::var("DIVISOR")?.parse()?;
    let (issuer, audience) = (env::var("ISSUER")?, env::var("AUDIENCE")?);
    let name = env::var("NAME").unwrap_or_else(|_| "many-verifiers".to_owned());
    let build = |number: usize| {
        let builder = Verifier::for_issuer(&issuer).audience(&audience).name(format!("{name}-{number}"));
        builder.revocation(Revocation::Lenient).divide_pauses_by(divisor).build()
    };
    let verifiers = Arc::new((0..count).map(build).collect::<Result<Vec<_>, _>>()?);

    // Threads of their own read, write and watch, so that a token waits for nothing but its verifiers, and a watched one not even for those.
    let (read, mut lines) = unbounded_channel();
    thread::spawn(move || io::stdin().lines().try_for_each(|line| read.send(line)));
    let (answer, answers) = mpsc::channel();
    let writing = thread::spawn(move || write(&answers));
    let (watch, watched) = mpsc::channel();
    thread::spawn({
        let (verifiers, answer, runtime) = (Arc::clone(&verifiers), answer.clone(), Handle::current());
        move || {
            // It runs what the verifiers fetch in the background.
            let _runtime = runtime.enter();
            watch_each(&verifiers, &watched, &answer);
        }
    });
    let (mut checks, mut turn) = (JoinSet::new(), 0);
    while let Some(line) = lines.recv().await {
        let line = line?;
        let (number, token) = line.split_once(' ').ok_or("a line is `NUMBER TOKEN`")?;
        let (number, token) = (number.to_owned(), token.to_owned());
        if number.ends_with('?') {
            watch.send(Watched::new(number, token, count)).map_err(|_| "no token is watched any more")?;
            continue;
        }
        let asked = if number.ends_with('!') { count } else { share };
        let (verifiers, answer, from) = (Arc::clone(&verifiers), answer.clone(), turn);
        checks.spawn(async move { answer.send(format!("{number} {}\n", check(&verifiers, &token, from, asked).await)) });
        turn = (turn + asked) % count;
        while checks.try_join_next().is_some() {}
    }
    checks.join_all().await;
    drop((watch, answer));
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

/// A token that is asked about until all verifiers refuse it.
struct Watched {
    number: String,
    token: String,
    /// The verifiers that have not refused it, and when each last accepted it.
    left: Vec<(usize, f64)>,
}

impl Watched {
    fn new(number: String, token: String, verifiers: usize) -> Self {
        let now = unix_seconds();
        Self { number, token, left: (0..verifiers).map(|verifier| (verifier, now)).collect() }
    }

    /// Asks the verifiers that are left. They look at their memory only, so that tokens do not wait for each other.
    fn ask(&mut self, verifiers: &[Verifier], answer: &mpsc::Sender<String>) {
        let Self { number, token, left } = self;
        left.retain_mut(|(verifier, accepted_at)| {
            let asked_at = unix_seconds();
            match verifiers[*verifier].verify_cached(token) {
                Ok(_) => *accepted_at = asked_at,
                Err(verifier::Error::Revoked) => {
                    // If nothing can be written any more, the process ends.
                    let _ = answer.send(format!("{number} {verifier} {accepted_at:.3} {:.3}\n", unix_seconds()));
                    return false;
                }
                // It is not known whether the token was revoked.
                Err(_) => {}
            }
            true
        });
    }
}

/// Asks about the watched tokens in rounds, until no more can come.
fn watch_each(verifiers: &[Verifier], watched: &mpsc::Receiver<Watched>, answer: &mpsc::Sender<String>) {
    let (mut open, mut due) = (Vec::new(), Instant::now());
    loop {
        match watched.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(token) => open.push(token),
            Err(RecvTimeoutError::Timeout) => {
                due = Instant::now() + WATCH_EVERY;
                open.iter_mut().for_each(|token: &mut Watched| token.ask(verifiers, answer));
                open.retain(|token| !token.left.is_empty());
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
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
