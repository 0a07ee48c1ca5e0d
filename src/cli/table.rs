//! Tables for people. On a terminal they fit its width and have colors; in a pipe they have neither.

use std::{
    env, fmt,
    io::{self, IsTerminal},
};

use comfy_table::{Attribute, Cell, Color, ColumnConstraint, ContentArrangement, Table, Width, presets};
use terminal_size::terminal_size_of;

use crate::server::caller_text;

/// Text for standard output. Control characters are escaped, except for the colors of a table.
#[derive(Debug)]
pub(super) struct Screen(String);

impl Screen {
    /// This text, and another below it.
    pub(super) fn above(self, other: impl Into<Self>) -> Self {
        Self(format!("{}\n{}", self.0, other.into().0))
    }
}

impl From<String> for Screen {
    fn from(text: String) -> Self {
        Self(caller_text::printable_lines(&text).into_owned())
    }
}

impl fmt::Display for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The terminal that shows standard output, if one does.
#[derive(Debug, Clone, Copy)]
struct Terminal {
    width: u16,
    colors: bool,
}

impl Terminal {
    fn of_stdout() -> Option<Self> {
        let stdout = io::stdout();
        if !stdout.is_terminal() {
            return None;
        }
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        // https://no-color.org
        let colors = !is_set("NO_COLOR") && env::var_os("TERM").is_none_or(|term| term != "dumb");
        let width = terminal_size_of(stdout).map_or(0, |(width, _)| width.0);
        // A terminal that does not know its width says 0.
        Some(Self { width: if width == 0 { 80 } else { width }, colors })
    }

    /// Whether the terminal is too narrow for a table of many wide columns.
    fn is_narrow(self) -> bool {
        self.width < 120
    }

    fn arrange(terminal: Option<Self>) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        if let Some(terminal) = terminal {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(terminal.width);
        }
        match terminal {
            Some(Self { colors: true, .. }) => table.enforce_styling(),
            _ => table.force_no_tty(),
        };
        table
    }
}

/// Whether standard output is a terminal that is too narrow for a table of many wide columns.
pub(super) fn is_narrow() -> bool {
    Terminal::of_stdout().is_some_and(Terminal::is_narrow)
}

/// A table with a heading. A column `STATE` is colored by its words.
pub(super) fn table<const N: usize>(heading: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Screen {
    draw(Terminal::of_stdout(), heading, rows)
}

fn draw<const N: usize>(terminal: Option<Terminal>, heading: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Screen {
    let rows: Vec<[String; N]> = rows.into_iter().collect();
    let mut table = Terminal::arrange(terminal);
    table.set_header(heading.map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
    if let Some(terminal) = terminal {
        table.set_constraints(whole_words(terminal.width, heading, &rows));
    }
    for row in rows {
        table.add_row(row.into_iter().zip(heading).map(|(text, column)| {
            let text = caller_text::printable_lines(&text);
            let cell = Cell::new(if terminal.is_some() { breakable(&text) } else { text.into_owned() });
            match color(&text_of_state(column, &cell)) {
                Some(color) => cell.fg(color),
                None => cell,
            }
        }));
    }
    Screen(trimmed(&table))
}

/// The constraints under which no column breaks a word, except for the columns with the longest words if they do not all fit.
fn whole_words<const N: usize>(width: u16, heading: [&str; N], rows: &[[String; N]]) -> [ColumnConstraint; N] {
    const PADDING: usize = 2;
    let longest = |text: &str| text.split_whitespace().map(|word| word.chars().count()).max().unwrap_or(0);
    let mut least = heading.map(longest);
    for row in rows {
        for (least, text) in least.iter_mut().zip(row) {
            *least = longest(&breakable(text)).max(*least);
        }
    }
    // A column that may break words needs some room too.
    const BROKEN: usize = 12;
    let sum = |least: &[usize; N]| least.iter().map(|least| least + PADDING).sum::<usize>();
    let mut broken = None;
    while sum(&least) > width.into() {
        broken = (0..N).max_by_key(|column| least[*column]).filter(|column| least[*column] > BROKEN);
        match broken {
            Some(column) => least[column] = BROKEN,
            // There is not enough room even so: all columns are treated alike.
            None => return [ColumnConstraint::LowerBoundary(Width::Fixed(0)); N],
        }
    }
    if let Some(column) = broken {
        least[column] += usize::from(width) - sum(&least);
    }
    least.map(|least| ColumnConstraint::LowerBoundary(Width::Fixed(u16::try_from(least + PADDING).unwrap_or(width))))
}

/// The text of a cell of the column `STATE`; of other columns, the empty text.
fn text_of_state(column: &str, cell: &Cell) -> String {
    if column == "STATE" { cell.content() } else { String::new() }
}

fn color(state: &str) -> Option<Color> {
    match state.split([' ', ':']).next().unwrap_or_default() {
        "damaged" | "quarantined" | "revoked" | "NOT" => Some(Color::Red),
        "disabled" | "WARNING" => Some(Color::Yellow),
        "enabled" | "active" | "until" | "usable" => Some(Color::Green),
        "ended" | "expired" | "retired" => Some(Color::DarkGrey),
        _ => None,
    }
}

/// A time with a space between date and time (RFC 3339 section 5.6), where a narrow column is broken.
fn breakable(text: &str) -> String {
    let is_time = text.len() == 20 && text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T');
    if is_time { text.replacen('T', " ", 1) } else { text.to_owned() }
}

/// A table of names and values.
pub(super) fn facts<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = Terminal::arrange(Terminal::of_stdout());
    table.force_no_tty();
    table.add_rows(rows.into_iter().map(|(name, value)| [name.to_owned(), value]));
    trimmed(&table)
}

fn trimmed(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: [&str; 4] =
        ["billing", "disabled", "https://orders.example: orders:read orders:write orders:cancel", "2026-11-24T06:01:11Z"];

    fn drawn(terminal: Option<Terminal>) -> String {
        draw(terminal, ["CLIENT", "STATE", "ALLOWED", "LAST USED"], [ROW.map(str::to_owned)]).to_string()
    }

    #[test]
    fn a_table_fits_the_terminal_and_a_pipe_gets_whole_lines() {
        for width in [40, 50, 60, 80, 120] {
            let text = drawn(Some(Terminal { width, colors: false }));
            assert!(text.lines().all(|line| line.chars().count() <= width.into()), "{text}");
        }
        let narrow = drawn(Some(Terminal { width: 60, colors: false }));
        for word in ["billing", "disabled", "orders:cancel", "2026-11-24", "06:01:11Z"] {
            assert!(narrow.contains(word), "{word} is whole: {narrow}");
        }
        let text = drawn(None);
        assert!(text.lines().count() == 2 && ROW.iter().all(|cell| text.contains(cell)), "{text}");
    }

    #[test]
    fn only_a_terminal_with_colors_gets_colors_and_a_name_brings_none() {
        assert!(
            drawn(Some(Terminal { width: 80, colors: true })).contains("\u{1b}[38;5;11m"),
            "{:?}",
            drawn(Some(Terminal { width: 80, colors: true }))
        );
        for terminal in [None, Some(Terminal { width: 80, colors: false })] {
            assert!(!drawn(terminal).contains('\u{1b}'));
        }
        let hostile = draw(None, ["CLIENT"], [["a\u{1b}[31mb".to_owned()]]).to_string();
        assert!(hostile.contains("a\\u{1b}[31mb") && !hostile.contains('\u{1b}'), "{hostile}");
    }
}
