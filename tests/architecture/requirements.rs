//! The rows of the table of requirements, and the tests that name them.
//!
//! A test names the rows that it covers at the start of its name: `te1_only_post_gets_a_token`, `te9_te13_a_success_says_..`.
//! Tests that need other programs are written in Python; their names count as well.

use std::collections::BTreeSet;

use proc_macro2::{Group, TokenStream, TokenTree};

use crate::source::{Finding, Source, caught, is_mark, line_of};

/// How many rows each group has.
const ROWS: [(&str, u32); 21] = [
    ("TE", 16),
    ("CA", 12),
    ("CC", 4),
    ("PW", 18),
    ("RT", 16),
    ("RV", 8),
    ("IN", 7),
    ("AT", 6),
    ("JK", 7),
    ("MD", 4),
    ("VF", 19),
    ("AD", 11),
    ("HD", 14),
    ("OP", 18),
    ("KY", 5),
    ("SL", 5),
    ("PK", 2),
    ("WI", 3),
    ("DP", 3),
    ("GD", 6),
    ("AP", 5),
];

/// The rows that what has been built so far owes. An issue adds its own.
const OWED: [(&str, &[u32]); 19] = [
    ("TE", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
    ("CA", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
    ("CC", &[1, 2, 3, 4]),
    ("PW", &[1, 2, 3, 4, 8, 9, 10, 11, 12, 13, 14, 16, 18]),
    ("RT", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
    ("RV", &[1, 2, 3, 4, 5, 6, 7, 8]),
    ("IN", &[1, 2, 3, 4, 5, 6, 7]),
    ("AT", &[1, 2, 3, 4, 5, 6]),
    ("JK", &[1, 2, 3, 4, 5, 6, 7]),
    ("MD", &[1, 2, 3, 4]),
    ("VF", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]),
    ("AD", &[2, 5, 6, 7, 8, 9, 10, 11]),
    ("HD", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]),
    ("KY", &[1, 2, 3, 4, 5]),
    ("SL", &[1, 2, 3, 4, 5]),
    ("PK", &[1]),
    ("WI", &[3]),
    ("GD", &[1, 2, 3, 4, 5, 6]),
    ("OP", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]),
];

/// The id of every row.
pub(crate) fn known() -> BTreeSet<String> {
    ROWS.iter().flat_map(|(group, count)| (1..=*count).map(move |row| format!("{group}{row}"))).collect()
}

/// The ids in the first column of a Markdown table.
pub(crate) fn ids_of_table(markdown: &str) -> BTreeSet<String> {
    let cells = markdown.lines().filter_map(|line| line.strip_prefix('|')?.split('|').next());
    cells.map(str::trim).filter(|cell| is_id(cell)).map(str::to_owned).collect()
}

fn is_id(text: &str) -> bool {
    let group = text.trim_end_matches(|c: char| c.is_ascii_digit());
    group.len() == 2 && group.len() < text.len() && group.bytes().all(|b| b.is_ascii_uppercase())
}

/// The ids that a test's name begins with: the words of a group of the table and a number.
fn ids_of(name: &str) -> impl Iterator<Item = String> {
    let words = name.split('_').map(str::to_uppercase);
    words.take_while(|word| is_id(word) && ROWS.iter().any(|(group, _)| word.starts_with(group)))
}

/// Ids in the names of tests that no row has.
pub(crate) fn unknown(source: &Source) -> Vec<Finding> {
    let known = known();
    let ids = tests_in(source).into_iter().flat_map(|test| ids_of(&test.name).map(|id| (id, test.clone())).collect::<Vec<_>>());
    ids.filter(|(id, _)| !known.contains(id))
        .map(|(id, test)| source.finding(test.line, format!("`{}` names {id}: the table of requirements has no such row", test.name)))
        .collect()
}

/// The rows owed that no test names: neither one of `sources` nor a function of one of `scripts`, which are Python.
pub(crate) fn untested(sources: &[Source], scripts: &[String]) -> Vec<String> {
    let mut tested: BTreeSet<String> = sources.iter().flat_map(tests_in).flat_map(|test| ids_of(&test.name).collect::<Vec<_>>()).collect();
    tested.extend(scripts.iter().flat_map(|script| functions_of(script)).flat_map(ids_of));
    let owed = OWED.iter().flat_map(|(group, rows)| rows.iter().map(move |row| format!("{group}{row}")));
    owed.filter(|id| !tested.contains(id)).collect()
}

/// The functions that stand at the top of a Python file.
fn functions_of(script: &str) -> impl Iterator<Item = &str> {
    script.lines().filter_map(|line| line.strip_prefix("def ")?.split('(').next())
}

#[derive(Clone)]
struct Test {
    name: String,
    line: usize,
}

/// The tests of a file: functions that are marked as tests, that a macro makes, or that are handed to a macro by name, as
/// `on_both_databases!` takes them.
fn tests_in(source: &Source) -> Vec<Test> {
    let mut reader = Functions::default();
    reader.read(source.tokens.clone(), false);
    let Functions { mut tests, others, named_in_macros } = reader;
    tests.extend(others.into_iter().filter(|function| named_in_macros.contains(&function.name)));
    tests
}

#[derive(Default)]
struct Functions {
    tests: Vec<Test>,
    others: Vec<Test>,
    named_in_macros: BTreeSet<String>,
}

impl Functions {
    fn read(&mut self, tokens: TokenStream, in_macro: bool) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut rest = &tokens[..];
        let mut marked = false;
        while let [first, after @ ..] = rest {
            rest = match rest {
                [hash, TokenTree::Group(attribute), after @ ..] if is_mark(hash, '#') => {
                    marked |= marks_test(attribute);
                    after
                }
                [TokenTree::Ident(word), TokenTree::Ident(name), after @ ..] if word == "fn" => {
                    let function = Test { name: name.to_string(), line: line_of(first) };
                    if marked || in_macro {
                        self.tests.push(function)
                    } else {
                        self.others.push(function)
                    }
                    marked = false;
                    after
                }
                [TokenTree::Ident(_), bang, TokenTree::Group(body), after @ ..] if is_mark(bang, '!') => {
                    self.read(body.stream(), true);
                    after
                }
                [TokenTree::Ident(word), _, TokenTree::Ident(_), TokenTree::Group(body), after @ ..] if word == "macro_rules" => {
                    self.read(body.stream(), true);
                    after
                }
                [TokenTree::Group(group), ..] => {
                    self.read(group.stream(), in_macro);
                    after
                }
                [TokenTree::Ident(word), ..] if in_macro => {
                    self.named_in_macros.insert(word.to_string());
                    after
                }
                _ => after,
            };
        }
    }
}

/// `[test]`, `[tokio::test]`, `[tokio::test(..)]`; not `[cfg(test)]`.
fn marks_test(attribute: &Group) -> bool {
    let path = attribute.stream().into_iter().take_while(|token| !matches!(token, TokenTree::Group(_)));
    path.last().is_some_and(|last| matches!(last, TokenTree::Ident(word) if word == "test"))
}

#[test]
fn tests_are_found_however_they_are_written() {
    let text = "on_both_databases![te1_by_list, plain];
        async fn te1_by_list(backend: Backend) {}
        async fn te2_not_listed(backend: Backend) {}
        fn plain() {}
        #[cfg(test)] mod tests {
            #[test] fn te3_marked() {}
            #[tokio::test(flavor = \"multi_thread\")] #[expect(unused)] pub(crate) async fn te4_te5_marked() { fn te6_inner() {} }
            fn te7_help() {}
        }
        m! { mod a { fn te8_made() {} } }
        macro_rules! n { () => { fn te9_made() {} } }";
    let mut names: Vec<String> = tests_in(&Source::parse("tests/any.rs", text)).into_iter().map(|test| test.name).collect();
    names.sort();
    assert_eq!(names, ["plain", "te1_by_list", "te3_marked", "te4_te5_marked", "te8_made", "te9_made"]);
}

#[test]
fn only_the_start_of_a_name_is_an_id() {
    let ids = |name| ids_of(name).collect::<Vec<_>>();
    assert_eq!(ids("te9_te13_a_success"), ["TE9", "TE13"]);
    assert_eq!(ids("in_memory_of_te1"), [""; 0]);
    assert_eq!(ids("rs256_at1"), [""; 0]);
    assert_eq!(ids("te1x_y"), [""; 0]);
}

#[test]
fn an_id_that_no_row_has_is_caught() {
    let text = "#[test] fn te16_last() {}\n#[test] fn te1_te17_beyond() {}\n#[test] fn te0_none() {}\n#[test] fn te01_padded() {}";
    assert_eq!(caught(unknown, "tests/any.rs", text), [2, 3, 4]);
}

#[test]
fn a_row_that_is_owed_and_untested_is_caught() {
    let name = "#[test] fn te1_te2() {} #[test] fn cc1() {} fn cc2_no_test() {}";
    let script = "def cc3_by_python(program):\n    def cc4_inner():\n# def cc4_comment():\n".to_owned();
    let missing = untested(&[Source::parse("tests/any.rs", name)], &[script]);
    assert!(missing.contains(&"TE3".to_owned()) && missing.contains(&"CC2".to_owned()), "{missing:?}");
    assert!(!missing.contains(&"CC3".to_owned()) && missing.contains(&"CC4".to_owned()), "{missing:?}");
    assert!(!missing.contains(&"TE1".to_owned()) && !missing.contains(&"TE2".to_owned()) && !missing.contains(&"CC1".to_owned()));
}

#[test]
fn every_row_that_is_owed_exists() {
    let known = known();
    for (group, rows) in OWED {
        assert!(rows.iter().all(|row| known.contains(&format!("{group}{row}"))), "{group}");
    }
}

#[test]
fn a_table_that_differs_is_caught() {
    let table = |rows: &BTreeSet<String>| rows.iter().map(|id| format!("| {id} | 6749 | x | y |\n")).collect::<String>();
    let mut rows = known();
    assert_eq!(ids_of_table(&format!("| id | source |\n|---|---|\n{}", table(&rows))), rows);
    rows.insert("XX1".to_owned());
    assert_ne!(ids_of_table(&table(&rows)), known());
    rows = known();
    rows.remove("TE16");
    assert_ne!(ids_of_table(&table(&rows)), known());
}
