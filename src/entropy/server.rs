//! Randomness in the forms that the server needs.

use std::convert::Infallible;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rand_core::{TryCryptoRng, TryRng};

use super::{bytes, fill};

/// 128 unpredictable bits as 22 characters of base64url: unique without coordination.
#[must_use]
pub(crate) fn unique_id() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes::<16>())
}

/// The same source for libraries that take a generator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemRng;

impl TryRng for SystemRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_ne_bytes(bytes()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_ne_bytes(bytes()))
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        fill(dst);
        Ok(())
    }
}

impl TryCryptoRng for SystemRng {}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        env,
        io::{self, BufRead, BufReader, Write},
        process::{Command, Stdio},
    };

    use super::*;

    const TEST: &str = "entropy::server::tests::at5_a_million_ids_of_two_processes_and_one_restarted_after_kill_9_are_unique";
    /// Makes this test the process that prints ids.
    const PRINTS: &str = "SEALWRIGHT_TEST_PRINTS_IDS";

    /// A token's `jti` is nothing but such an id, so two nodes never have to agree, and a node that restarts has nothing to remember.
    #[test]
    fn at5_a_million_ids_of_two_processes_and_one_restarted_after_kill_9_are_unique() {
        if env::var_os(PRINTS).is_some() {
            let mut stdout = io::stdout().lock();
            while writeln!(stdout, "{}", unique_id()).is_ok() {}
            return;
        }
        let start = || {
            let mut command = Command::new(env::current_exe().unwrap());
            command.args(["--exact", TEST, "--nocapture"]).env(PRINTS, "1");
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
        };
        let mut seen = HashSet::new();
        let (mut first, mut second) = (start(), start());
        let mut other = BufReader::new(second.stdout.take().unwrap()).lines();
        for _ in 0..2 {
            // Both run at once. The first is killed in the middle of a line, and then runs again.
            let mut ids = BufReader::new(first.stdout.take().unwrap()).lines();
            for _ in 0..250_020 {
                for line in [ids.next(), other.next()] {
                    // The first lines are those of the test harness.
                    let line = line.unwrap().unwrap();
                    assert!(line.len() != 22 || seen.insert(line), "an id came twice");
                }
            }
            first.kill().unwrap();
            first.wait().unwrap();
            first = start();
        }
        for mut process in [first, second] {
            process.kill().unwrap();
            process.wait().unwrap();
        }
        assert!(seen.len() >= 1_000_000, "{} ids", seen.len());
    }
}
