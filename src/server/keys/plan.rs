//! What has to be done about the signing keys: a pure function of the keys and the time.

use crate::{
    clock::Timestamp,
    protocol::Algorithm,
    server::model::{KeyState, SigningKeyRow},
};

/// A signing key of the database.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownKey<'a> {
    pub(super) row: &'a SigningKeyRow,
    /// Whether its private half opens.
    pub(super) opens: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Create a key that signs at once.
    Create { algorithm: Algorithm, generation: i64 },
}

/// The steps after which each of `algorithms` has a key that signs at `now`.
pub(super) fn plan(keys: &[KnownKey<'_>], algorithms: &[Algorithm], now: Timestamp) -> Vec<Step> {
    let of = |algorithm: Algorithm| keys.iter().filter(move |key| key.row.algorithm == algorithm);
    let mut steps = Vec::new();
    for &algorithm in algorithms {
        if !of(algorithm).any(|key| key.opens && key.row.state(now) == KeyState::Active) {
            let newest = of(algorithm).map(|key| key.row.generation).max().unwrap_or(0);
            steps.push(Step::Create { algorithm, generation: newest + 1 });
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_795_500_000);

    fn row(generation: i64) -> SigningKeyRow {
        SigningKeyRow {
            kid: generation.to_string(),
            algorithm: Algorithm::Rs256,
            generation,
            public_jwk: String::new(),
            sealed: String::new(),
            published_at: NOW,
            activates_at: NOW,
            retires_at: None,
            expires_at: None,
            revoked_at: None,
        }
    }

    fn planned(keys: &[(SigningKeyRow, bool)]) -> Vec<i64> {
        let keys: Vec<_> = keys.iter().map(|(row, opens)| KnownKey { row, opens: *opens }).collect();
        let generation = |Step::Create { algorithm, generation }| {
            assert_eq!(algorithm, Algorithm::Rs256);
            generation
        };
        plan(&keys, &[Algorithm::Rs256], NOW).into_iter().map(generation).collect()
    }

    #[test]
    fn a_key_is_created_only_if_none_signs() {
        let later = NOW + std::time::Duration::from_secs(1);
        let revoked = SigningKeyRow { revoked_at: Some(NOW), ..row(3) };
        let retired = SigningKeyRow { retires_at: Some(NOW), ..row(1) };
        let not_active_yet = SigningKeyRow { activates_at: later, ..row(2) };
        for (keys, steps) in [
            (vec![], vec![1]),
            (vec![(row(1), true)], vec![]),
            (vec![(row(1), false)], vec![2]),
            (vec![(row(2), false), (row(1), true)], vec![]),
            (vec![(revoked, true), (row(2), false)], vec![4]),
            (vec![(not_active_yet, true), (retired, true)], vec![3]),
        ] {
            assert_eq!(planned(&keys), steps, "{keys:?}");
        }
    }
}
