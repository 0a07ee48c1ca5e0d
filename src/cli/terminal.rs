//! What a stream of this process shows: how wide its lines are, and whether it shows colors.

use std::{
    env,
    io::{self, Write},
    os::fd::AsFd,
};

use anstream::AutoStream;
use terminal_size::{Width, terminal_size_of};
use textwrap::{Options, WordSplitter};

/// The width of text on a stream that is not a terminal, and the most on a terminal: longer lines are hard to read.
const WIDEST: usize = 100;

/// The width of text on standard output.
pub(super) fn width_of_stdout() -> usize {
    width(io::stdout()).unwrap_or(WIDEST)
}

/// The width of a drawing on standard output: all columns of a terminal.
pub(super) fn columns_of_stdout() -> usize {
    terminal_size_of(io::stdout()).map(|(Width(columns), _)| columns.into()).filter(|columns| *columns > 0).unwrap_or(WIDEST)
}

/// Whether the locale's character set is UTF-8 (POSIX, Base Definitions, section 8.2: the first of these variables that is set decides).
pub(super) fn has_utf8() -> bool {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// The width of a terminal, at most [`WIDEST`]. `None` if the stream is not a terminal or does not know its width.
fn width(stream: impl AsFd) -> Option<usize> {
    terminal_size_of(stream).map(|(Width(columns), _)| usize::from(columns).min(WIDEST))
}

/// Writes a message to standard error: wrapped and colored on a terminal, one line as it is elsewhere. Ignores failures: the exit code
/// still reports the outcome.
pub(super) fn report(message: &str) {
    let stderr = io::stderr();
    let text = width(&stderr).map_or_else(|| message.to_owned(), |width| wrapped(message, width));
    let _ = writeln!(AutoStream::auto(stderr.lock()), "{}", text.trim_end());
}

/// Quotes a text for a shell.
pub(super) fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The text in lines of at most `width` columns, each continued with its own indentation. Words that are longer stay whole, because they
/// are copied.
pub(super) fn wrapped(text: &str, width: usize) -> String {
    let wrap = |line: &str| {
        let indent = &line[..line.len() - line.trim_start_matches(' ').len()];
        let options = Options::new(width).break_words(false).word_splitter(WordSplitter::NoHyphenation);
        textwrap::fill(line.trim_start_matches(' '), options.initial_indent(indent).subsequent_indent(indent))
    };
    text.split('\n').map(wrap).collect::<Vec<_>>().join("\n")
}
