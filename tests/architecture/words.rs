//! The language of everything that a person reads: plain technical English (design, section 2).

use crate::source::{File, Finding};

/// Words that a native engineer would not write, and what to write instead. Names are read as well: `_` and capitals part words.
const WORDS: [(&str, &str); 22] = [
    ("lawful", "valid"),
    ("unlawful", "invalid"),
    ("anew", "again"),
    ("amid", "during"),
    ("whoever", "the noun: the caller, the client, the operator"),
    ("nobody", "no one where a person is meant, else the noun"),
    ("told", "given, notified, ordered, reported"),
    ("judge", "check"),
    ("judges", "checks"),
    ("judged", "checked"),
    ("judging", "checking"),
    ("mend", "fix"),
    ("mends", "fixes"),
    ("mended", "fixed"),
    ("whither", "where"),
    ("hither", "here"),
    ("thereof", "of it"),
    ("whereof", "of which"),
    ("hence", "so"),
    ("ere", "before"),
    ("nought", "nothing"),
    ("aught", "anything"),
];

/// After these, "is no" is as it should be.
const AFTER_NO: [&str; 6] = ["longer", "more", "less", "fewer", "later", "earlier"];
/// Before "who", these leave out whose doing it is.
const BEFORE_WHO: [&str; 14] = ["of", "for", "to", "by", "from", "than", "with", "but", "as", "lets", "keeps", "leaves", "finds", "and"];

/// What of a file's text is not plain.
pub(crate) fn unplain(file: &File) -> Vec<Finding> {
    let findings = file.text.lines().zip(1..).flat_map(|(text, line)| {
        let advice = advice(text);
        advice.into_iter().map(move |what| Finding { path: file.path.clone(), line, what })
    });
    findings.collect()
}

fn advice(line: &str) -> Vec<String> {
    let words = words(line);
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let (before, after) = (at.checked_sub(1).map(|at| words[at].as_str()), words.get(at + 1).map(String::as_str));
        if let Some((_, instead)) = WORDS.iter().find(|(unplain, _)| unplain == word) {
            found.push(format!("`{word}`: write {instead}"));
        }
        if matches!(word.as_str(), "is" | "are" | "was" | "were") && after == Some("no") {
            let noun = words.get(at + 2).map_or("", String::as_str);
            if before != Some("there") && !AFTER_NO.contains(&noun) {
                found.push(format!("`{word} no {noun}`: write {word} not"));
            }
        }
        if word == "who" && before.is_some_and(|before| BEFORE_WHO.contains(&before)) {
            found.push(format!("`{} who`: name who it is", before.unwrap_or_default()));
        }
    }
    if begins_with_who(line) {
        found.push("a sentence that begins with `Who`: name who it is".to_owned());
    }
    found
}

/// The words of a line in lower case, those within names apart.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower = false;
    for letter in line.chars() {
        if !letter.is_ascii_alphabetic() || (letter.is_ascii_uppercase() && lower) {
            words.push(String::new());
        }
        if letter.is_ascii_alphabetic() {
            words.last_mut().unwrap().push(letter.to_ascii_lowercase());
        }
        lower = letter.is_ascii_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Whether a sentence that is not a question begins with "Who".
fn begins_with_who(line: &str) -> bool {
    let sentence = |at: usize| {
        let (before, after) = (line[..at].trim_end_matches([' ', '"', '*', '/', '!', '#', '|', '(']), &line[at..]);
        let begins = before.is_empty() || before.ends_with(['.', ':', ';']);
        let question = after.split(['.', ';']).next().is_some_and(|sentence| sentence.contains('?'));
        begins && !question
    };
    line.match_indices("Who ").any(|(at, _)| sentence(at))
}

#[test]
fn unplain_words_are_caught() {
    for line in [
        "/// No lawful name.",
        "fn judge(it: Token)",
        "struct UnlawfulToken;",
        "let told = 1;",
        "read_anew()",
        "NobodyNew",
        "//! Whoever asks is answered.",
        "\"this is no client id\"",
        "// What was no scope is refused.",
        "/// Who waits is served.",
        "/// It is over. Who waits is served.",
        "// for who keeps it elsewhere",
        "that of who came first",
    ] {
        assert_eq!(advice(line).len(), 1, "{line}: {:?}", advice(line));
    }
    for line in [
        "/// Who may ask?",
        "// There is no client, and it is no longer needed.",
        "/// The client who asks, judgement, foretold",
        "whose",
        "A person who has a token",
    ] {
        assert_eq!(advice(line), [""; 0], "{line}");
    }
}
