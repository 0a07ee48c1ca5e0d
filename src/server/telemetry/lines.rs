//! Writes log lines to standard error through two bounded queues and one thread. Logging never blocks.
//!
//! Security events have their own queue, which is written first. So neither a flood of other lines nor a slow reader delays or loses them.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded, select_biased};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::{
    sampling,
    targets::{ALERT, SECURITY},
};
use crate::{clock::Stopwatch, server::caller_text};

/// Maximum number of queued lines: security events, and others. Further lines are dropped and counted.
const SECURITY_LINES: usize = 2048;
const OTHER_LINES: usize = 6144;
/// The interval between reports of omitted lines.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// How long lines are gathered before they are written together. To wake the thread for each line costs more than to write it.
const GATHERED_FOR: Duration = Duration::from_millis(2);
/// Maximum number of lines that are gathered, so that a flood does not delay security events or the end.
const GATHERED_LINES: usize = 256;
/// Maximum number of bytes in one write, unless one line is longer: POSIX (`PIPE_BUF`, as Linux has it) keeps so many together in a pipe that
/// several processes write to.
const WRITE_LEN: usize = 4096;
/// Time limit for writing the remaining lines at the end.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Lines lost because their queue was full or standard error could not be written.
static LOST: AtomicU64 = AtomicU64::new(0);

/// The number of log lines lost since the process started.
pub(crate) fn lines_dropped() -> u64 {
    LOST.load(Relaxed)
}

/// Queues lines for the thread that writes them.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    security: Sender<Vec<u8>>,
    others: Sender<Vec<u8>>,
}

/// Writes the remaining lines when it is dropped.
#[derive(Debug)]
pub(super) struct LinesGuard {
    stop: Sender<()>,
    written: Receiver<()>,
}

impl Drop for LinesGuard {
    fn drop(&mut self) {
        sampling::report();
        let _ = self.stop.try_send(());
        // A blocked reader must not prevent the process from ending.
        let _ = self.written.recv_timeout(LAST_LINES);
    }
}

impl Lines {
    /// Starts the thread that writes to standard error.
    pub(super) fn to_stderr(json: bool) -> io::Result<(Self, LinesGuard)> {
        Self::to(Output::new(io::stderr().as_fd().try_clone_to_owned().ok().map(File::from), json))
    }

    fn to(mut output: Output) -> io::Result<(Self, LinesGuard)> {
        let (security, urgent) = bounded::<Vec<u8>>(SECURITY_LINES);
        let (others, rest) = bounded::<Vec<u8>>(OTHER_LINES);
        let (stop, stopped) = bounded(1);
        let (done, written) = bounded::<()>(1);
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            let mut reported = Stopwatch::start();
            loop {
                let line = select_biased! {
                    recv(stopped) -> _ => break,
                    recv(urgent) -> line => Some(line),
                    recv(rest) -> line => Some(line),
                    default(REPORT_EVERY) => None,
                };
                match line {
                    Some(Ok(line)) => {
                        output.add(&line);
                        thread::sleep(GATHERED_FOR);
                        urgent.try_iter().chain(rest.try_iter()).take(GATHERED_LINES).for_each(|line| output.add(&line));
                        output.write();
                    }
                    // All senders are gone.
                    Some(Err(_)) => break,
                    None => {}
                }
                if reported.elapsed() >= REPORT_EVERY {
                    reported = Stopwatch::start();
                    sampling::report();
                }
            }
            // At most a full queue: lines that arrive meanwhile must not prevent the thread from ending.
            urgent.try_iter().take(SECURITY_LINES).chain(rest.try_iter().take(OTHER_LINES)).for_each(|line| output.add(&line));
            output.write();
            drop(done);
        })?;
        Ok((Self { security, others }, LinesGuard { stop, written }))
    }
}

/// The queue of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    Security,
    Alert,
    Other,
}

impl Lane {
    fn of(event: &Metadata<'_>) -> Self {
        match event.target() {
            SECURITY => Self::Security,
            ALERT => Self::Alert,
            // Our own warnings. Outsiders can cause warnings of libraries.
            target if *event.level() <= Level::WARN && target.starts_with("sealwright") => Self::Security,
            _ => Self::Other,
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: self, lane: Lane::Other }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Line<'a> {
        Line { lines: self, lane: Lane::of(event) }
    }
}

/// The writer of one line to its queue.
pub(super) struct Line<'a> {
    lines: &'a Lines,
    lane: Lane,
}

impl Write for Line<'_> {
    /// Receives a whole line: events are formatted first and written at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let queue = if self.lane == Lane::Other { &self.lines.others } else { &self.lines.security };
        let crowded = self.lane == Lane::Alert && queue.len() >= SECURITY_LINES / 2;
        if crowded || queue.try_send(line.to_vec()).is_err() {
            LOST.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A duplicate of standard error. A full disk, a closed pipe or a closed standard error only loses lines, which are counted.
struct Output {
    file: Option<File>,
    json: bool,
    /// Whole lines that are not written yet, and how many they are.
    gathered: Vec<u8>,
    lines: u64,
}

impl Output {
    fn new(file: Option<File>, json: bool) -> Self {
        Self { file, json, gathered: Vec::with_capacity(WRITE_LEN), lines: 0 }
    }

    /// Adds a line to the next write. Writes what was gathered before if both do not fit.
    fn add(&mut self, line: &[u8]) {
        let escaped = escaped(line, self.json);
        let line = escaped.as_deref().unwrap_or(line);
        if self.gathered.len() + line.len() > WRITE_LEN {
            self.write();
        }
        self.gathered.extend_from_slice(line);
        self.lines += 1;
    }

    fn write(&mut self) {
        if self.lines == 0 {
            return;
        }
        let written = self.file.as_mut().map(|file| file.write_all(&self.gathered));
        if !matches!(written, Some(Ok(()))) {
            LOST.fetch_add(self.lines, Relaxed);
        }
        self.gathered.clear();
        self.gathered.shrink_to(WRITE_LEN);
        self.lines = 0;
    }
}

/// The line with unprintable characters beyond ASCII escaped, if it has any, regardless of their source. The formats escape those of
/// ASCII, except those needed for colors.
fn escaped(line: &[u8], json: bool) -> Option<Vec<u8>> {
    if line.iter().all(|byte| *byte < 0x7f) {
        return None;
    }
    let text = String::from_utf8_lossy(line);
    let escaped = if json { caller_text::printable_json(&text) } else { caller_text::printable_beyond_ascii(&text) };
    Some(escaped.into_owned().into_bytes())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, pipe},
        os::fd::OwnedFd,
    };

    use super::*;

    #[test]
    fn unprintable_characters_are_escaped_in_both_formats() {
        let line = "{\"path\":\"/\u{9b}31m\u{202e}\u{2028}ü😀\u{e0001}\"}\n";
        let json = String::from_utf8(escaped(line.as_bytes(), true).unwrap()).unwrap();
        assert_eq!(json, "{\"path\":\"/\\u009b31m\\u202e\\u2028ü😀\\udb40\\udc01\"}\n");
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["path"], "/\u{9b}31m\u{202e}\u{2028}ü😀\u{e0001}");
        let text = String::from_utf8(escaped("a\u{202e}b\n".as_bytes(), false).unwrap()).unwrap();
        assert_eq!(text, "a\\u{202e}b\n");
        assert_eq!(escaped(b"\x1b[2mplain\x1b[0m\n", false), None, "colors are kept");
    }

    #[test]
    fn hd10_security_events_are_written_first_and_have_their_own_queue() {
        let (reader, writer) = pipe().unwrap();
        let output = Output::new(Some(File::from(OwnedFd::from(writer))), false);
        let (lines, guard) = Lines::to(output).unwrap();
        let before = lines_dropped();
        let send = |lane, text: &str| Line { lines: &lines, lane }.write(text.as_bytes()).map(drop).unwrap();
        // There is no reader yet: the pipe and the queue of other lines fill up.
        let noise = format!("{}\n", "noise".repeat(40));
        (0..20_000).for_each(|_| send(Lane::Other, &noise));
        assert!(lines_dropped() - before > 10_000);
        let lost = lines_dropped();
        (0..20_000).for_each(|_| send(Lane::Alert, &format!("{}\n", "alert".repeat(40))));
        let alerts = 20_000 - (lines_dropped() - lost);
        // The pipe may hold some more of them.
        assert!((1024..1400).contains(&alerts), "{alerts}");
        let lost = lines_dropped();
        (0..1000).for_each(|number| send(Lane::Security, &format!("security {number}\n")));
        assert_eq!(lines_dropped(), lost, "none of them is lost");
        let reading = thread::spawn(move || BufReader::new(reader).lines().map_while(Result::ok).collect::<Vec<_>>());
        drop(guard);
        drop(lines);
        let read = reading.join().unwrap();
        let position = |text: &str| read.iter().position(|line| line == text).unwrap_or_else(|| panic!("{text} is lost"));
        let last = (0..1000).map(|number| position(&format!("security {number}"))).max().unwrap();
        let late = read[last..].iter().filter(|line| line.starts_with("noise")).count();
        assert!(late > 5000, "{late} lines of noise follow them");
    }
}
