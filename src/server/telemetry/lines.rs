//! The way of a line of the log to standard error: two bounded queues and one thread. Logging never waits.
//!
//! What matters for security has a queue of its own, which is written first. So no number of other lines, and no slow reader of
//! them, makes it late or loses it.

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

/// Lines that wait to be written at most: those that matter for security, and the others. One more is dropped, and counted.
const SECURITY_LINES: usize = 2048;
const OTHER_LINES: usize = 6144;
/// How often it is reported what was left out.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// How long the lines that are left may take to be written at the end.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Lines that found their queue full, or that standard error did not take.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Lines of the log that were lost, since the process started.
pub(crate) fn lines_dropped() -> u64 {
    LOST.load(Relaxed)
}

/// Takes lines, for the thread that writes them.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    security: Sender<Vec<u8>>,
    others: Sender<Vec<u8>>,
}

/// Writes what is left when it is dropped.
#[derive(Debug)]
pub(super) struct LinesGuard {
    stop: Sender<()>,
    written: Receiver<()>,
}

impl Drop for LinesGuard {
    fn drop(&mut self) {
        sampling::report();
        let _ = self.stop.try_send(());
        // Who reads nothing keeps nobody from ending.
        let _ = self.written.recv_timeout(LAST_LINES);
    }
}

impl Lines {
    /// Starts the thread that writes to standard error.
    pub(super) fn to_stderr(json: bool) -> io::Result<(Self, LinesGuard)> {
        Self::to(Output { file: io::stderr().as_fd().try_clone_to_owned().ok().map(File::from), json })
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
                    Some(Ok(line)) => output.write(&line),
                    // Nobody logs any more.
                    Some(Err(_)) => break,
                    None => {}
                }
                if reported.elapsed() >= REPORT_EVERY {
                    reported = Stopwatch::start();
                    sampling::report();
                }
            }
            // As many as can wait: what comes in the meantime does not keep it from ending.
            urgent.try_iter().take(SECURITY_LINES).chain(rest.try_iter().take(OTHER_LINES)).for_each(|line| output.write(&line));
            drop(done);
        })?;
        Ok((Self { security, others }, LinesGuard { stop, written }))
    }
}

/// Which queue a line goes to.
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
            // A warning of ours. Libraries' warnings can be caused by anybody.
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

/// One line on its way to its queue.
pub(super) struct Line<'a> {
    lines: &'a Lines,
    lane: Lane,
}

impl Write for Line<'_> {
    /// Takes a whole line: an event is formatted first and written in one piece.
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

/// Standard error as a file of its own: a full disk, a reader that went away, and nothing to write to at all cost lines, which
/// are counted, and nothing else.
struct Output {
    file: Option<File>,
    json: bool,
}

impl Output {
    fn write(&mut self, line: &[u8]) {
        let escaped = escaped(line, self.json);
        let written = self.file.as_mut().map(|file| file.write_all(escaped.as_deref().unwrap_or(line)));
        if !matches!(written, Some(Ok(()))) {
            LOST.fetch_add(1, Relaxed);
        }
    }
}

/// The line with its unprintable characters beyond ASCII escaped, if it has any: whatever text they came with, nothing gets past
/// here. Those of ASCII are escaped by the formats; colours need one of them.
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
        assert_eq!(escaped(b"\x1b[2mplain\x1b[0m\n", false), None, "colours stay");
    }

    #[test]
    fn hd10_lines_that_matter_for_security_are_written_first_and_have_room_of_their_own() {
        let (reader, writer) = pipe().unwrap();
        let output = Output { file: Some(File::from(OwnedFd::from(writer))), json: false };
        let (lines, guard) = Lines::to(output).unwrap();
        let before = lines_dropped();
        let send = |lane, text: &str| Line { lines: &lines, lane }.write(text.as_bytes()).map(drop).unwrap();
        // Nobody reads: the pipe and the queue of the others are full soon.
        let noise = format!("{}\n", "noise".repeat(40));
        (0..20_000).for_each(|_| send(Lane::Other, &noise));
        assert!(lines_dropped() - before > 10_000);
        let lost = lines_dropped();
        (0..20_000).for_each(|_| send(Lane::Alert, &format!("{}\n", "alert".repeat(40))));
        let alerts = 20_000 - (lines_dropped() - lost);
        // The pipe may have room for some more of them.
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
        assert!(late > 5000, "{late} lines of noise came after them");
    }
}
