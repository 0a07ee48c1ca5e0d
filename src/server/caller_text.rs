//! Makes text from a caller safe to log, trace or print: removes secrets, and escapes characters that control a terminal or are
//! invisible.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::protocol::{SecretForm, after_prefix, base64url, contains_secret, find_secret};

/// Replaces text that looks like a secret.
pub(crate) const HIDDEN: &str = "[secret]";

/// Maximum length of a path and of other text, in characters.
const PATH_LIMIT: usize = 200;
const TEXT_LIMIT: usize = 100;

/// The path of a URL, with `HIDDEN` in place of the first segment that may contain a secret and all that follow. Also returns whether
/// there is one.
pub(crate) fn path(path: &str) -> (String, bool) {
    let mut shown = String::new();
    for (number, segment) in path.split('/').enumerate() {
        if number > 0 {
            shown.push('/');
        }
        if may_hold_secret(segment) {
            shown.push_str(HIDDEN);
            return (shown, true);
        }
        shown.push_str(segment);
    }
    // Within a secret, only the dots or slashes may be encoded.
    if holds_secret(path) { (format!("/{HIDDEN}"), true) } else { (printable(&shown).chars().take(PATH_LIMIT).collect(), false) }
}

/// A text in quotation marks, truncated; or `HIDDEN` if it may contain a secret or is a URL with credentials.
pub(crate) fn quoted(text: &str) -> String {
    if may_hold_secret(text) || text.contains("://") && text.contains('@') {
        return HIDDEN.to_owned();
    }
    let cut: String = text.chars().take(TEXT_LIMIT).collect();
    let more = if cut.len() < text.len() { "..." } else { "" };
    format!("\"{}{more}\"", printable(&cut))
}

/// A word that may be sent back to the caller that sent it: letters, digits, and what separates them in names. So a page that shows it
/// unescaped is not changed by it, and a secret in the wrong place does not get into further logs.
pub(crate) fn plain_word(text: &str) -> Option<&str> {
    const LIMIT: usize = 64;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".,:/_-".contains(&byte);
    (text.len() <= LIMIT && text.bytes().all(is_plain) && !may_hold_secret(text)).then_some(text)
}

/// A `User-Agent`: a text of which each word that may contain a secret is replaced, truncated. A URL with credentials hides it all.
pub(crate) fn user_agent(text: &str) -> String {
    const LIMIT: usize = 200;
    let cut: String = text.chars().take(LIMIT).collect();
    if cut.contains("://") && cut.contains('@') {
        return HIDDEN.to_owned();
    }
    // Escapes are longer than what they stand for.
    words(&cut).chars().take(LIMIT).collect()
}

/// A text that may quote a caller: replaces each word that may contain a secret.
pub(crate) fn words(text: &str) -> String {
    let shown: Vec<&str> = text.split(' ').map(|word| if may_hold_secret(word) { HIDDEN } else { word }).collect();
    printable(&shown.join(" ")).into_owned()
}

/// Whether `text` contains one of our secrets or a token, even if percent-encoded several times.
pub(crate) fn holds_secret(text: &str) -> bool {
    any_decoding(text, contains_secret)
}

/// The same, ignoring the secret forms that are expected here.
pub(crate) fn holds_other_secret(text: &str, in_place: &[SecretForm]) -> bool {
    any_decoding(text, |text| find_secret(text).is_some_and(|form| !in_place.contains(&form)))
}

/// Whether `text` contains a secret or a token, or text that starts like one or is as random as one.
fn may_hold_secret(text: &str) -> bool {
    any_decoding(text, |text| contains_secret(text) || contains_beginning(text) || contains_random(text))
}

/// Applies `holds` to `text` and to each of its repeated percent-decodings, which get shorter each time.
fn any_decoding(text: &str, holds: impl Fn(&str) -> bool) -> bool {
    const TIMES: usize = 8;
    let mut text = Cow::Borrowed(text);
    for _ in 0..TIMES {
        if holds(&text) {
            return true;
        }
        let decoded = percent_decode_str(&text).decode_utf8_lossy();
        if decoded == text {
            return false;
        }
        text = Cow::Owned(decoded.into_owned());
    }
    // A text is only encoded that often to hide something.
    true
}

/// Whether the text contains the start of a secret or a token, truncated or mistyped.
fn contains_beginning(text: &str) -> bool {
    let bytes = text.as_bytes();
    (0..bytes.len()).any(|at| {
        let after = |prefix| after_prefix(&bytes[at..], prefix).is_some_and(|rest| base64url(rest) >= 4);
        matches!(bytes[at], b's' | b'S' | b'e' | b'E') && (after(b"sw_") || after(b"swr_") || after(b"eyj"))
    })
}

/// Whether the text contains 20 consecutive characters of base64 with upper case, lower case and digits: a part of a secret, of a key,
/// or of credentials in base64.
fn contains_random(text: &str) -> bool {
    const LEAST: usize = 20;
    let in_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_+=".contains(&byte);
    text.as_bytes().split(|byte| !in_word(*byte)).any(|word| {
        let has = |kind: fn(&u8) -> bool| word.iter().any(kind);
        word.len() >= LEAST && has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit)
    })
}

/// Escapes unprintable characters as `\u{..}`: control characters, direction marks, line separators, zero-width characters. Escapes line
/// breaks too.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, is_unprintable)
}

/// The same for text of several lines: keeps line breaks.
pub(crate) fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && is_unprintable(c))
}

/// The same for text with intended ASCII control characters, such as colors.
pub(crate) fn printable_beyond_ascii(text: &str) -> Cow<'_, str> {
    escaped(text, is_unprintable_beyond_ascii)
}

/// The same for JSON, with JSON's escapes. Those of ASCII are escaped there already (RFC 8259 section 7).
pub(crate) fn printable_json(json: &str) -> Cow<'_, str> {
    if !json.chars().any(is_unprintable_beyond_ascii) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 32);
    for c in json.chars() {
        if is_unprintable_beyond_ascii(c) {
            // Above 16 bits, a pair of surrogates.
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| escaped.push_str(&format!("\\u{unit:04x}")));
        } else {
            escaped.push(c);
        }
    }
    escaped.into()
}

fn escaped(text: &str, unsafe_char: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&unsafe_char) {
        return Cow::Borrowed(text);
    }
    text.chars().flat_map(|c| if unsafe_char(c) { c.escape_default().collect() } else { vec![c] }).collect::<String>().into()
}

/// Whether `c` is a control character or invisible. For characters beyond ASCII, the standard library decides: `escape_debug` escapes them.
/// They are not put first, because a first character may be escaped for another reason.
fn is_unprintable(c: char) -> bool {
    // Letters and symbols that look like a space.
    const BLANK: [char; 5] = ['\u{115f}', '\u{1160}', '\u{2800}', '\u{3164}', '\u{ffa0}'];
    c.is_ascii_control() || BLANK.contains(&c) || !c.is_ascii() && String::from_iter(['x', c]).escape_debug().count() > 2
}

fn is_unprintable_beyond_ascii(c: char) -> bool {
    c >= '\u{7f}' && is_unprintable(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "sw_09a27efed3ca36aez4SCN9tJqsuBFyZ4FfxzAHELIN3z9J-gVxNxYBRaYWsZwVRoQ";

    fn encoded(text: &str) -> String {
        text.bytes().map(|byte| format!("%{byte:02x}")).collect()
    }

    #[test]
    fn hd7_no_part_of_a_secret_is_shown_of_a_path() {
        let basic = "YmlsbGluZzpzd18wOWEyN2VmZWQzY2EzNmFlejRTQ045dEpxc3VCRnlaNEZmeHpBSEVMSU4zejlKLWdWeE54WUJSYVlXc1p3VlJvUQ==";
        let once = encoded(SECRET);
        let secrets = [
            SECRET,
            &SECRET[..30],
            &SECRET[25..],
            &SECRET.to_ascii_lowercase(),
            &once,
            &encoded(&once),
            &encoded(&encoded(&once)),
            &once.replace('%', "%25"),
            &SECRET.replace('_', "%5F"),
            &SECRET.replace('_', "%255f"),
            "di5G35ZktxQQIXjO7RRStA%2E1%2EXUfI8hKDPMXingimp2HmgswGyzeBeptf3U9i-0jSzGw",
            "swr_di5G35ZktxQQIXjO7RRStA.1.XUfI8hKDPMXingimp2HmgswGyzeBeptf3U9i-0jSzGw",
            "eyJhbGciOiJub25lIn0.eyJzdWIiOiJiaWxsaW5nIn0.",
            basic,
        ];
        for secret in secrets {
            assert_eq!(path(&format!("/oauth/token/{secret}/x")), ("/oauth/token/[secret]".to_owned(), true), "{secret}");
            assert_eq!(path(&format!("/{secret}")).0, "/[secret]");
            assert_eq!(quoted(&format!("a={secret}")), HIDDEN);
            assert_eq!(words(&format!("inside `{secret}` of it")), "inside [secret] of it");
        }
        assert_eq!(path(&format!("/a/%{}73w", "25".repeat(20))), (format!("/a/{HIDDEN}"), true), "encoded too often to decode");
    }

    #[test]
    fn hd7_only_a_plain_word_is_sent_back() {
        for plain in ["orders:read", "orders:read,orders:write", "https://orders.example/read", "Read_1.x-y"] {
            assert_eq!(plain_word(plain), Some(plain));
        }
        let escape = "<img/src=x>";
        let long = "x".repeat(65);
        for other in [SECRET, &SECRET[..30], &SECRET.to_ascii_lowercase(), &encoded(SECRET), escape, "a'b", "a&b", "a b", "a@b", "ü", &long]
        {
            assert_eq!(plain_word(other), None, "{other}");
        }
    }

    #[test]
    fn other_paths_are_shown_unchanged() {
        for plain in
            ["/", "/health/live", "/Api/V1/orders/12345678901234567890", "/a%20b", "/caf%C3%A9", "//", "/.well-known/openid-configuration"]
        {
            assert_eq!(path(plain), (plain.to_owned(), false));
        }
        assert_eq!(path(&"/x".repeat(1000)).0.len(), PATH_LIMIT);
    }

    #[test]
    fn unprintable_characters_are_escaped_and_letters_of_every_script_are_not() {
        assert_eq!(
            printable("a\u{9b}31m\u{202e}b\u{2800}\u{2028}\u{200b}\u{feff}\n\u{1b}\u{7f}"),
            r"a\u{9b}31m\u{202e}b\u{2800}\u{2028}\u{200b}\u{feff}\n\u{1b}\u{7f}"
        );
        for readable in ["ünïcödé", "नमस्ते", "日本語", "مرحبا", "e\u{301}", "😀"] {
            assert_eq!(printable(readable), readable);
        }
        assert_eq!(printable_lines("a\nb\t"), "a\nb\\t");
        assert_eq!(quoted(&"y".repeat(200)), format!("\"{}...\"", "y".repeat(100)));
    }
}
