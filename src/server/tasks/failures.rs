//! What fails in a round of a task, and is tried again in the next one.

use std::collections::BTreeSet;

/// What failed in the last round of a task.
#[derive(Debug, Default)]
pub(super) struct Failures(BTreeSet<String>);

impl Failures {
    /// Replaces them with those of the next round. Reports each that the last round did not have.
    pub(super) fn replace(&mut self, next: BTreeSet<String>, mut report: impl FnMut(&str)) {
        for failure in next.difference(&self.0) {
            report(failure);
        }
        self.0 = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_reported_when_it_begins_and_again_only_after_it_has_ended() {
        let mut failures = Failures::default();
        // Each letter is a failure.
        for (round, reported) in [("a", "a"), ("ab", "b"), ("ab", ""), ("b", ""), ("ab", "a"), ("", ""), ("ab", "ab")] {
            let mut begun = String::new();
            failures.replace(round.chars().map(String::from).collect(), |failure| begun.push_str(failure));
            assert_eq!(begun, reported, "{round:?}");
        }
    }
}
