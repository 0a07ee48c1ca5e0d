//! The statuses that the testing issuer publishes.

/// The size of the list before it has more tokens than that, in bytes: a list does not grow with each token, and a real one has its size from the
/// beginning.
const FIRST_LEN: usize = 128;

/// One bit per revocable token.
#[derive(Debug)]
pub(super) struct ListedStatuses {
    bits: Vec<u8>,
    next: u64,
    /// The number of revocations.
    pub(super) epoch: i64,
}

impl ListedStatuses {
    pub(super) fn new() -> Self {
        Self { bits: vec![0; FIRST_LEN], next: 0, epoch: 0 }
    }

    /// The position of a new token.
    pub(super) fn add(&mut self) -> u64 {
        let index = self.next;
        self.next += 1;
        if index / 8 >= self.bits.len() as u64 {
            self.bits.push(0);
        }
        index
    }

    /// Sets the bit of a token. Returns whether there is one.
    pub(super) fn revoke(&mut self, index: u64) -> bool {
        let byte = usize::try_from(index / 8).ok().and_then(|at| self.bits.get_mut(at));
        let Some(byte) = byte.filter(|_| index < self.next) else { return false };
        *byte |= 1 << (index % 8);
        self.epoch += 1;
        true
    }

    pub(super) fn bits(&self) -> &[u8] {
        &self.bits
    }
}
