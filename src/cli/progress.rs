//! A line on the terminal while a command takes longer than a second. There is none in a pipe.

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
    let line = |seconds: Option<u64>| seconds.map(|seconds| format!("{doing} ... {seconds} s")).unwrap_or_default();
    // Each line replaces the one before.
    ticking(&SystemClock, work, |seconds| draw(&format!("\r\u{1b}[K{}", line(seconds)))).await
}

/// Runs `work`, which logs to the terminal. Once it has taken a second, one line says so.
pub(super) async fn announced<T>(text: &str, work: impl Future<Output = T>) -> T {
    if !io::stderr().is_terminal() {
        return work.await;
    }
    let first = |seconds: Option<u64>| {
        if seconds == Some(1) {
            draw(&format!("{text}\n"));
        }
    };
    ticking(&SystemClock, work, first).await
}

/// Runs `work` and calls `tick` with the number of seconds, each second. At the end, calls it with `None` if it was called before.
async fn ticking<T>(clock: &dyn Clock, work: impl Future<Output = T>, mut tick: impl FnMut(Option<u64>)) -> T {
    let mut work = Box::pin(work);
    let start = clock.steady();
    let mut seconds = 0;
    loop {
        tokio::select! {
            biased;
            done = &mut work => {
                if seconds > 0 {
                    tick(None);
                }
                return done;
            }
            () = clock.sleep_until("progress", start + Duration::from_secs(seconds + 1)) => {
                seconds += 1;
                tick(Some(seconds));
            }
        }
    }
}

/// Failures do not matter.
fn draw(text: &str) {
    let _ = write!(io::stderr(), "{text}").and_then(|()| io::stderr().flush());
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::clock::{ManualClock, Timestamp};

    #[tokio::test]
    async fn work_of_some_seconds_is_shown_each_second_until_it_is_done() {
        let clock = ManualClock::at(Timestamp::from_seconds(0));
        let (finish, finished) = tokio::sync::oneshot::channel();
        let shown = Mutex::new(Vec::new());
        let count = || shown.lock().unwrap().len();
        let work = ticking(&clock, finished, |seconds| shown.lock().unwrap().push(seconds));
        let time = async {
            for seconds in 1..=2 {
                clock.advance(Duration::from_secs(1));
                while count() < seconds {
                    tokio::task::yield_now().await;
                }
            }
            finish.send(7).unwrap();
        };
        let (done, ()) = tokio::join!(work, time);
        assert_eq!((done, &*shown.lock().unwrap()), (Ok(7), &vec![Some(1), Some(2), None]));
    }

    #[tokio::test]
    async fn work_of_less_than_a_second_is_not_shown() {
        let clock = ManualClock::at(Timestamp::from_seconds(0));
        ticking(&clock, async {}, |_| panic!("nothing is shown")).await;
    }
}
