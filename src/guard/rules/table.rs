//! The tables of a rule file, with the line of each key.

use toml::de::{DeTable, DeValue};

use super::RuleFileError;

/// A value of the file and its line.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<T> {
    pub(super) line: usize,
    pub(super) value: T,
}

/// Where the lines of a text begin, apart from the first.
#[derive(Debug)]
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at + 1).collect())
    }

    /// The line, counted from 1, that the byte at `offset` is in.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|begin| *begin <= offset) + 1
    }
}

/// A table of the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'t> {
    keys: &'t DeTable<'t>,
    lines: &'t Lines,
    pub(super) line: usize,
}

impl<'t> Table<'t> {
    pub(super) const fn new(keys: &'t DeTable<'t>, lines: &'t Lines, line: usize) -> Self {
        Self { keys, lines, line }
    }

    /// Refuses the table if it has another key than these. `what` is the table, for the message.
    pub(super) fn require_known(self, what: &str, known: &[&'static str]) -> Result<(), RuleFileError> {
        let keys = self.keys.iter().map(|(key, _)| (key.span().start, &**key.get_ref()));
        let Some((offset, key)) = keys.filter(|(_, key)| known.iter().all(|known| known != key)).min() else { return Ok(()) };
        let advice = match nearest(key, known) {
            Some(nearest) => format!("did you mean {nearest}?"),
            None => format!("it can have {}", known.join(", ")),
        };
        Err(RuleFileError::at(self.lines.line(offset), format!("{what} has no key {key:?}; {advice}")))
    }

    pub(super) fn text(self, key: &str) -> Result<Option<At<&'t str>>, RuleFileError> {
        self.get(key).map(|found| text(found).ok_or_else(|| mistyped(found.line, key, "a text in quotation marks"))).transpose()
    }

    pub(super) fn texts(self, key: &str) -> Result<Option<At<Vec<At<&'t str>>>>, RuleFileError> {
        let Some(found) = self.get(key) else { return Ok(None) };
        let wrong = |line| mistyped(line, key, "a list of texts, such as [\"GET\", \"POST\"]");
        let items = found.value.as_array().ok_or_else(|| wrong(found.line))?.iter();
        let items = items.map(|item| At { line: self.lines.line(item.span().start), value: item.get_ref() });
        let value = items.map(|item| text(item).ok_or_else(|| wrong(item.line))).collect::<Result<_, _>>()?;
        Ok(Some(At { line: found.line, value }))
    }

    pub(super) fn boolean(self, key: &str) -> Result<Option<At<bool>>, RuleFileError> {
        let Some(found) = self.get(key) else { return Ok(None) };
        let value = found.value.as_bool().ok_or_else(|| mistyped(found.line, key, "true or false, without quotation marks"))?;
        Ok(Some(At { line: found.line, value }))
    }

    /// The tables of a `[[key]]`, in their order.
    pub(super) fn tables(self, key: &str) -> Result<Vec<Self>, RuleFileError> {
        let Some(found) = self.get(key) else { return Ok(Vec::new()) };
        let wrong = |line| RuleFileError::at(line, format!("write [[{key}]], in two pairs of brackets, above each {key}"));
        let items = found.value.as_array().ok_or_else(|| wrong(found.line))?.iter();
        let tables = items.map(|item| -> Result<Self, RuleFileError> {
            let line = self.lines.line(item.span().start);
            let keys = item.get_ref().as_table().ok_or_else(|| wrong(line))?;
            Ok(Self::new(keys, self.lines, line))
        });
        tables.collect()
    }

    fn get(self, key: &str) -> Option<At<&'t DeValue<'t>>> {
        let found = self.keys.get(key)?;
        Some(At { line: self.lines.line(found.span().start), value: found.get_ref() })
    }
}

fn text<'t>(found: At<&'t DeValue<'t>>) -> Option<At<&'t str>> {
    Some(At { line: found.line, value: found.value.as_str()? })
}

fn mistyped(line: usize, key: &str, expected: &str) -> RuleFileError {
    RuleFileError::at(line, format!("{key} must be {expected}"))
}

/// The name that is most similar to `name`, if any is similar enough.
pub(super) fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    const LEAST: f64 = 0.65;
    // One finds abbreviations, the other letters that are swapped in a short name.
    let likeness = |known: &&'static str| strsim::jaro_winkler(name, known).max(strsim::normalized_damerau_levenshtein(name, known));
    let best = known.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)))?;
    (likeness(best) > LEAST).then_some(*best)
}
