//! A line on the terminal while a command takes longer than a second.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use crate::clock::{Clock, SystemClock};

/// Runs `work`. Once it has taken a second, a line on the terminal says what is being done and for how long, until it is done.
pub(super) async fn shown<T>(doing: &str, work: impl Future<Output = T>) -> T {
    if !io::stderr().is_terminal() {
        return work.await;
    }
    let mut work = Box::pin(work);
    let start = SystemClock.now();
    for seconds in 1_u64.. {
        tokio::select! {
            done = &mut work => {
                if seconds > 1 {
                    // Clears the line.
                    draw("");
                }
                return done;
            }
            () = SystemClock.sleep_until(start + Duration::from_secs(seconds)) => draw(&format!("{doing} ... {seconds} s")),
        }
    }
    work.await
}

/// Replaces the line. Failures do not matter.
fn draw(line: &str) {
    let _ = write!(io::stderr(), "\r\u{1b}[K{line}");
    let _ = io::stderr().flush();
}
