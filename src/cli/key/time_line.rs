//! The lives of signing keys, drawn in the terminal: a line per key, with dates below.

use crate::{
    cli::{
        output::rfc3339,
        terminal::{has_utf8, wrapped},
    },
    clock::Timestamp,
    server::keys::{ListedKey, QuarantinedKey},
};

/// The phases of a key.
#[derive(Debug, Clone)]
pub(super) struct Life {
    name: String,
    published: i64,
    activates: i64,
    retires: Option<i64>,
    expires: Option<i64>,
    revoked: Option<i64>,
    quarantined: bool,
}

/// The characters of the drawing. Without color, and in ASCII where the locale is not UTF-8.
struct Glyphs {
    published: char,
    signs: char,
    retired: char,
    quarantined: char,
    revoked: char,
    goes_on: char,
    goes_back: char,
    now: char,
    guide: char,
    axis: char,
    tick: char,
}

const UNICODE: Glyphs = Glyphs {
    published: '·',
    signs: '━',
    retired: '╌',
    quarantined: '?',
    revoked: '×',
    goes_on: '▶',
    goes_back: '◀',
    now: '▼',
    guide: '│',
    axis: '─',
    tick: '┴',
};

const ASCII: Glyphs = Glyphs {
    published: '.',
    signs: '=',
    retired: '~',
    quarantined: '?',
    revoked: 'x',
    goes_on: '>',
    goes_back: '<',
    now: 'v',
    guide: '|',
    axis: '-',
    tick: '+',
};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// The furthest that the drawing reaches from now. A key with times beyond that is damaged, or its clock was wrong.
const REACH: i64 = 400 * DAY;
/// With fewer columns than this, there is nothing to see.
const FEWEST: usize = 24;
/// The steps between dates.
const STEPS: [i64; 13] =
    [HOUR, 2 * HOUR, 4 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 5 * DAY, 10 * DAY, 20 * DAY, 40 * DAY, 80 * DAY, 160 * DAY];

impl Life {
    /// `None` if the times of a damaged key cannot be read.
    pub(super) fn of(key: &ListedKey) -> Option<Self> {
        let seconds = |time: Option<Timestamp>| time.map(Timestamp::seconds);
        let name = key.name();
        match key {
            ListedKey::Whole(row) => Some(Self {
                name,
                published: row.published_at.seconds(),
                activates: row.activates_at.seconds(),
                retires: seconds(row.retires_at),
                expires: seconds(row.expires_at),
                revoked: seconds(row.revoked_at),
                quarantined: false,
            }),
            ListedKey::Quarantined(QuarantinedKey { published_at, activates_at, retires_at, expires_at, revoked_at, .. }) => Some(Self {
                name,
                published: published_at.as_ref()?.seconds(),
                activates: activates_at.as_ref()?.seconds(),
                retires: seconds(*retires_at),
                expires: seconds(*expires_at),
                revoked: seconds(*revoked_at),
                quarantined: true,
            }),
        }
    }

    /// When it is not published any more, if that is known. A revocation takes effect at once, whatever its time.
    fn end(&self, now: i64) -> Option<i64> {
        self.revoked.map(|revoked| revoked.min(now)).or(self.expires)
    }

    fn phase(&self, time: i64, glyphs: &Glyphs) -> char {
        if self.quarantined {
            glyphs.quarantined
        } else if self.retires.is_some_and(|retires| retires <= time) {
            glyphs.retired
        } else if self.activates <= time {
            glyphs.signs
        } else {
            glyphs.published
        }
    }
}

/// The part of time that is drawn, and on how many columns.
struct Scale {
    start: i64,
    end: i64,
    columns: usize,
}

impl Scale {
    /// All of the keys that are published or were just revoked, or of all keys if there are none; of others, the part that falls into it.
    fn new(lives: &[Life], now: i64, columns: usize) -> Self {
        // As long as rows of expired keys are kept.
        const RECENT: i64 = 7 * DAY;
        let recent = |life: &&Life| {
            let since = if life.revoked.is_some() { now.saturating_sub(RECENT) } else { now };
            life.end(now).is_none_or(|end| end > since)
        };
        let mut shown: Vec<&Life> = lives.iter().filter(recent).collect();
        if shown.is_empty() {
            shown = lives.iter().collect();
        }
        let (earliest, latest) = (now.saturating_sub(REACH), now.saturating_add(REACH));
        let start = shown.iter().map(|life| life.published).fold(now, i64::min).max(earliest);
        let known = |life: &&Life| [Some(life.activates), life.retires, life.end(now)].into_iter().flatten().max().unwrap_or(now);
        let end = shown.iter().map(known).fold(now, i64::max).min(latest);
        // Some room for what goes on.
        let end = end + ((end - start) / 8).max(DAY);
        Self { start, end, columns }
    }

    /// The column of a time within the drawing.
    fn column(&self, time: i64) -> Option<usize> {
        let (passed, all) = (time.checked_sub(self.start)?, self.end - self.start);
        let column = i128::from(passed) * i128::try_from(self.columns).ok()? / i128::from(all);
        usize::try_from(column).ok().filter(|column| passed >= 0 && *column < self.columns)
    }

    /// The time at the beginning of a column.
    fn time(&self, column: usize) -> i64 {
        let passed = i128::from(self.end - self.start) * column as i128 / self.columns.max(1) as i128;
        self.start.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
    }

    /// The phases of a key in its line. Each phase that begins within the drawing has a column, however short it is.
    fn line(&self, life: &Life, now: i64, glyphs: &Glyphs) -> Vec<char> {
        let end = life.end(now);
        let mut line = vec![' '; self.columns];
        for (column, cell) in line.iter_mut().enumerate() {
            let time = self.time(column);
            if life.published <= time && end.is_none_or(|end| time < end) {
                *cell = life.phase(time, glyphs);
            }
        }
        let mut last = None;
        for begin in [Some(life.published), Some(life.activates), life.retires].into_iter().flatten() {
            let over = end.is_some_and(|end| end <= begin) || begin < life.published;
            let Some(column) = self.column(begin).filter(|_| !over) else { continue };
            let column = last.map_or(column, |last: usize| column.max(last + 1));
            if let Some(cell) = line.get_mut(column) {
                *cell = life.phase(begin, glyphs);
                last = Some(column);
            }
        }
        if life.revoked.is_some()
            && let Some(cell) = end.and_then(|end| self.column(end)).and_then(|column| line.get_mut(column))
        {
            *cell = glyphs.revoked;
        }
        if end.is_none_or(|end| end > self.end)
            && let Some(cell) = line.last_mut()
        {
            *cell = glyphs.goes_on;
        }
        if life.published < self.start
            && let Some(cell) = line.first_mut()
        {
            *cell = glyphs.goes_back;
        }
        line
    }

    /// The axis, and the dates below it.
    fn axis(&self, glyphs: &Glyphs) -> [String; 2] {
        let per_column = (self.end - self.start) / i64::try_from(self.columns).unwrap_or(i64::MAX).max(1);
        // A label and some room.
        const ROOM: i64 = 14;
        let step = STEPS.into_iter().find(|step| step / per_column.max(1) >= ROOM).unwrap_or(320 * DAY);
        let (mut axis, mut labels) = (vec![glyphs.axis; self.columns], String::new());
        let mut time = self.start.div_euclid(step).saturating_add(1).saturating_mul(step);
        while let Some(column) = self.column(time) {
            let text = rfc3339(Timestamp::from_seconds(time));
            let label = if step < DAY { text.get(5..16).map(|text| text.replace('T', " ")) } else { text.get(..10).map(str::to_owned) };
            if let Some(label) = label.filter(|label| column + label.len() <= self.columns) {
                if let Some(cell) = axis.get_mut(column) {
                    *cell = glyphs.tick;
                }
                labels.push_str(&" ".repeat(column.saturating_sub(labels.len())));
                labels.push_str(&label);
            }
            time = time.saturating_add(step);
        }
        [axis.into_iter().collect(), labels]
    }
}

/// The drawing, in lines of at most `width` columns; nothing if there is no key or too little room.
pub(super) fn time_line(lives: &[Life], now: Timestamp, width: usize) -> Option<String> {
    draw(lives, now, width, if has_utf8() { &UNICODE } else { &ASCII })
}

fn draw(lives: &[Life], now: Timestamp, width: usize, glyphs: &Glyphs) -> Option<String> {
    let now = now.seconds();
    let margin = lives.iter().map(|life| life.name.chars().count()).max()? + 2;
    let columns = width.checked_sub(margin).filter(|columns| *columns >= FEWEST)?;
    let scale = Scale::new(lives, now, columns);
    let now_at = scale.column(now);
    let mut lines = Vec::new();
    if let Some(at) = now_at {
        let (indent, mark) = (" ".repeat(margin + at), glyphs.now);
        // The word stands to the left where there is no room on the right.
        let before = indent.strip_suffix("    ").filter(|_| at + 5 > columns);
        lines.push(before.map_or_else(|| format!("{indent}{mark} now"), |indent| format!("{indent}now {mark}")));
    }
    for life in lives {
        let mut line = scale.line(life, now, glyphs);
        if let Some(cell) = now_at.and_then(|at| line.get_mut(at)).filter(|cell| **cell == ' ') {
            *cell = glyphs.guide;
        }
        lines.push(format!("{:margin$}{}", life.name, line.into_iter().collect::<String>()));
    }
    let indent = " ".repeat(margin);
    lines.extend(scale.axis(glyphs).map(|line| format!("{indent}{line}")));
    lines.push(wrapped(&legend(lives, glyphs), width));
    let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
    Some(lines.join("\n"))
}

fn legend(lives: &[Life], glyphs: &Glyphs) -> String {
    let mut meanings = vec![(glyphs.published, "published"), (glyphs.signs, "signs"), (glyphs.retired, "retired, still published")];
    if lives.iter().any(|life| life.revoked.is_some()) {
        meanings.push((glyphs.revoked, "revoked"));
    }
    if lives.iter().any(|life| life.quarantined) {
        meanings.push((glyphs.quarantined, "quarantined"));
    }
    meanings.into_iter().map(|(glyph, meaning)| format!("{glyph} {meaning}")).collect::<Vec<_>>().join("   ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-29T00:00:00Z.
    const NOW: i64 = 1_795_910_400;

    fn life(name: &str, days: [Option<i64>; 4]) -> Life {
        let [published, activates, retires, expires] = days.map(|days| days.map(|days| NOW + days * DAY));
        let (published, activates) = (published.unwrap(), activates.unwrap());
        Life { name: name.to_owned(), published, activates, retires, expires, revoked: None, quarantined: false }
    }

    fn drawn(lives: &[Life], width: usize, glyphs: &Glyphs) -> String {
        draw(lives, Timestamp::from_seconds(NOW), width, glyphs).unwrap()
    }

    fn three() -> [Life; 3] {
        [
            life("RS256 #3", [Some(-1), Some(1), None, None]),
            life("RS256 #2", [Some(-31), Some(-30), Some(1), Some(3)]),
            life("RS256 #1", [Some(-61), Some(-60), Some(-30), Some(-28)]),
        ]
    }

    #[test]
    fn each_key_has_a_line_with_its_phases_and_none_is_too_short_to_see() {
        let unicode = "
                                                                  ▼ now
RS256 #3                                                        ····━━━━━━━━━━━▶
RS256 #2  ·━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╌╌╌╌╌
RS256 #1  ◀╌╌╌╌╌                                                  │
          ─────────┴─────────────────┴─────────────────┴────────────────────────
                   2026-11-03        2026-11-13        2026-11-23
· published   ━ signs   ╌ retired, still published";
        assert_eq!(format!("\n{}", drawn(&three(), 80, &UNICODE)), unicode);
        let ascii = "
                                  v now
RS256 #3                         ..====>
RS256 #2  .========================~~
RS256 #1  <~~                     |
          ---+---------------+----------
             2026-11-03      2026-11-23
. published   = signs   ~ retired, still
published";
        assert_eq!(format!("\n{}", drawn(&three(), 40, &ASCII)), ascii);
    }

    #[test]
    fn a_revoked_key_ends_with_a_cross_and_a_damaged_one_is_drawn_as_unknown() {
        let [next, current, _] = three();
        let text = drawn(&[Life { quarantined: true, ..next }, Life { revoked: Some(NOW - 10 * HOUR), ..current }], 80, &UNICODE);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("????") && !lines[1].contains('━'), "{text}");
        assert!(lines[2].contains("━×") && !lines[2].contains('╌'), "{text}");
        assert!(text.ends_with("× revoked   ? quarantined"), "{text}");
    }

    #[test]
    fn a_line_fits_its_width_whatever_the_times_are() {
        let absurd = [i64::MIN, -4_000_000_000, 0, NOW - 1, NOW, NOW + 1, 4_000_000_000, i64::MAX];
        for width in [1, 33, 34, 40, 80, 100, 300] {
            for published in absurd {
                for other in absurd {
                    let times = (Some(other), Some(other.saturating_add(1)));
                    for (retires, expires, revoked) in [(None, None, None), (times.0, times.1, None), (times.0, times.1, times.0)] {
                        let life = Life {
                            name: "RS256 #1".to_owned(),
                            published,
                            activates: other,
                            retires,
                            expires,
                            revoked,
                            quarantined: false,
                        };
                        for lives in [vec![life.clone()], vec![life; 20]] {
                            let text = draw(&lives, Timestamp::from_seconds(NOW), width, &UNICODE).unwrap_or_default();
                            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}: {text}");
                            assert_eq!(text.is_empty(), width < 34, "{text}");
                        }
                    }
                }
            }
        }
        assert_eq!(draw(&[], Timestamp::from_seconds(NOW), 80, &UNICODE), None);
    }
}
