//! The first line of standard input, in which some commands take a secret.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    os::fd::AsFd,
    path::Path,
};

use zeroize::Zeroizing;

use super::error::Error;

/// Whether a file is `-`, which stands for standard input.
pub(super) fn is_standard_input(file: &Path) -> bool {
    file == Path::new("-")
}

/// The first line of standard input, without its end. `None` if it has more than `longest` bytes.
pub(super) fn first_line(longest: usize) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    // Not through the buffer of `Stdin`, which is never cleared.
    let input = io::stdin().as_fd().try_clone_to_owned().map_err(Error::Input)?;
    first_line_of(File::from(input), longest).map_err(Error::Input)
}

fn first_line_of(mut input: impl Read, longest: usize) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    // With room for all of it and its end from the start: a vector that grows leaves copies behind.
    let mut line = Zeroizing::new(vec![0; longest + 2]);
    let mut length = 0;
    let is_whole = loop {
        if let Some(end) = line[..length].iter().position(|byte| *byte == b'\n') {
            length = end;
            break true;
        }
        if length == line.len() {
            break false;
        }
        match input.read(&mut line[length..]) {
            Ok(0) => break true,
            Ok(count) => length += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    };
    line.truncate(length);
    while line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok((is_whole && line.len() <= longest).then_some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its first line of at most four bytes, however it arrives.
    fn line(text: &str) -> Option<String> {
        let of = |input: &mut dyn Read| first_line_of(input, 4).unwrap().map(|line| String::from_utf8(line.to_vec()).unwrap());
        let line = of(&mut text.as_bytes());
        let halves = text.split_at(text.len() / 2);
        assert_eq!(of(&mut halves.0.as_bytes().chain(halves.1.as_bytes())), line, "{text:?}");
        line
    }

    #[test]
    fn a_line_is_read_without_its_end_and_without_what_follows() {
        for (text, expected) in [
            ("", ""),
            ("\n", ""),
            ("\nab", ""),
            ("ab", "ab"),
            ("ab\r", "ab"),
            ("ab\n", "ab"),
            ("ab\r\n", "ab"),
            ("ab\r\r\n", "ab"),
            ("ab\ncdefgh", "ab"),
            (" a \n", " a "),
            ("abcd", "abcd"),
            ("abcd\n", "abcd"),
            ("abcd\r\n", "abcd"),
        ] {
            assert_eq!(line(text).as_deref(), Some(expected), "{text:?}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_none() {
        for text in ["abcde", "abcde\n", "abcde\r\n", "abcdef", "abcd\r\re", "abcdefghijk\n"] {
            assert_eq!(line(text), None, "{text:?}");
        }
    }
}
