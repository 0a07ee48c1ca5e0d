//! Many verifiers in one process, as many APIs would have: `tests/rotation/run` asks them about each token while the issuer rotates its keys.
//!
//! ```sh
//! ISSUER=http://localhost:8080 AUDIENCE=https://orders.example DIVISOR=1 cargo run --example many_verifiers -- 20 4
//! ```
//!
//! The first argument is the number of verifiers; the second says how many of them, in turn, check each token. Each line of standard input is
//! `NUMBER TOKEN`, and is answered by `NUMBER ACCEPTED REFUSED REASON`. `NUMBER!` asks all of them. `DIVISOR` is by how much the times of the
//! issuer's schedule are divided.

use std::{env, error::Error, num::NonZeroU32};

use futures_util::future::join_all;
use sealwright::verifier::Verifier;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, stdin, stdout};

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
    let verifiers = (0..count).map(|_| build()).collect::<Result<Vec<_>, _>>()?;

    let (mut lines, mut out, mut turn) = (BufReader::new(stdin()).lines(), stdout(), 0);
    while let Some(line) = lines.next_line().await? {
        let (number, token) = line.split_once(' ').ok_or("a line is `NUMBER TOKEN`")?;
        let asked = if number.ends_with('!') { count } else { share };
        let (mut accepted, mut reason) = (0, String::new());
        // All at once: each may wait for keys.
        for outcome in join_all(verifiers.iter().cycle().skip(turn).take(asked).map(|verifier| verifier.verify(token))).await {
            match outcome {
                Ok(_) => accepted += 1,
                Err(error) => reason = format!(" {}: {error}", error.code()),
            }
        }
        turn = (turn + asked) % count;
        out.write_all(format!("{number} {accepted} {}{reason}\n", asked - accepted).as_bytes()).await?;
        out.flush().await?;
    }
    Ok(())
}
