//! What a stream of this process shows: how wide its lines are, and whether it shows colors.

use std::{
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
