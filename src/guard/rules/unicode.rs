//! How lenient systems compare text beyond ASCII.

use unicode_normalization::{UnicodeNormalization, is_nfkc};

/// The text without case, compatibility forms and invisible characters, in the manner of Unicode's `toNFKC_Casefold` (UAX 31 section 5.1).
///
/// Case is folded as widely as any language does: Python's `re.IGNORECASE` and Java's `equalsIgnoreCase` match `ı`, `İ`, `ſ` and the Kelvin
/// sign with ASCII letters.
pub(super) fn folded(text: &str) -> String {
    // The result of one step can be subject to an earlier one: full-width letters have case.
    text.nfkc().filter(|c| !is_ignorable(*c)).flat_map(without_case).nfkc().collect()
}

fn without_case(c: char) -> impl Iterator<Item = char> {
    // Its lower case is an `i` and a combining dot, which Java leaves out.
    let c = if c == '\u{130}' { 'i' } else { c };
    // Lower case first: capital sharp s becomes `ß`, and that becomes `ss` only by its upper case.
    c.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

/// Whether normalisation leaves the text as it is, and no character of it is invisible.
pub(super) fn is_normal(text: &str) -> bool {
    is_nfkc(text) && !text.chars().any(is_ignorable)
}

/// Whether the character has the property Default_Ignorable_Code_Point: it is invisible, and many systems drop it.
const fn is_ignorable(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Whether some systems turn the character into a slash or a backslash when they convert it to their own character set, as Windows does ("best
/// fit"; the signs of yen and won have the place of the backslash in Japanese and Korean ones). The full-width forms become delimiters by
/// normalisation.
pub(super) const fn resembles_slash(c: char) -> bool {
    matches!(c, '\u{a5}' | '\u{20a9}' | '\u{2044}' | '\u{2215}' | '\u{2216}' | '\u{29f5}' | '\u{29f8}' | '\u{29f9}')
}

/// Some systems drop it, and others make a hyphen of it (Windows, "best fit").
pub(super) const SOFT_HYPHEN: char = '\u{ad}';

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gd3_letters_that_some_language_takes_for_the_same_are_the_same() {
        for (text, same) in [
            ("Keys", "keys"),
            ("\u{212a}eys", "keys"),
            ("\u{17f}ecret", "secret"),
            ("adm\u{131}n", "admin"),
            ("adm\u{130}n", "admin"),
            ("\u{ff21}dmin", "admin"),
            ("ad\u{200b}min", "admin"),
            ("stra\u{df}e", "strasse"),
            ("STRA\u{1e9e}E", "strasse"),
            ("CAF\u{c9}", "cafe\u{301}"),
            ("a\u{ff0f}b", "a/b"),
            ("\u{2100}", "a/c"),
        ] {
            assert_eq!(folded(text), folded(same), "{text:?}");
        }
        for c in '\0'..='\u{1ffff}' {
            let once = folded(&c.to_string());
            assert_eq!(folded(&once), once, "{c:?}");
        }
        assert_ne!(folded("caf\u{e9}"), folded("cafe"));
    }

    #[test]
    fn gd3_a_text_is_normal_if_no_system_changes_or_drops_a_character_of_it() {
        for text in ["alice", "Alice", "auth0|7", "a@b.example", "caf\u{e9}", "\u{df}"] {
            assert!(is_normal(text), "{text:?}");
        }
        for text in ["cafe\u{301}", "\u{212a}", "\u{ff21}lice", "al\u{200b}ice", "al\u{ad}ice"] {
            assert!(!is_normal(text), "{text:?}");
        }
    }
}
