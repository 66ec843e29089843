//! Where a transaction stands (Kafka's `TransactionState`).

/// Where a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransactionState {
    /// A producer has the id and has not begun a transaction since it got it.
    Empty,
    /// Partitions belong to it; it is to be ended by its producer, or by its timeout.
    Ongoing,
    /// It will be committed, whatever happens: its markers are being written.
    PrepareCommit,
    /// It will be aborted, whatever happens: its markers are being written.
    PrepareAbort,
    /// Committed, and all markers are written.
    CompleteCommit,
    /// Aborted, and all markers are written.
    CompleteAbort,
    /// Its id has expired. Kafka writes it never; it is in its list of states.
    Dead,
    /// Kafka's word for a transaction whose producer is being fenced; only in memory there.
    PrepareEpochFence,
}

impl TransactionState {
    const ALL: [(TransactionState, i8, &'static str); 8] = [
        (TransactionState::Empty, 0, "Empty"),
        (TransactionState::Ongoing, 1, "Ongoing"),
        (TransactionState::PrepareCommit, 2, "PrepareCommit"),
        (TransactionState::PrepareAbort, 3, "PrepareAbort"),
        (TransactionState::CompleteCommit, 4, "CompleteCommit"),
        (TransactionState::CompleteAbort, 5, "CompleteAbort"),
        (TransactionState::Dead, 6, "Dead"),
        (TransactionState::PrepareEpochFence, 7, "PrepareEpochFence"),
    ];

    /// All of them, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = TransactionState> {
        TransactionState::ALL.iter().map(|(state, ..)| *state)
    }

    /// The number that stands in records.
    pub(super) fn number(self) -> i8 {
        TransactionState::ALL[self as usize].1
    }

    pub(super) fn from_number(number: i8) -> Option<TransactionState> {
        TransactionState::ALL.iter().find(|(_, known, _)| *known == number).map(|found| found.0)
    }

    /// Kafka's word for it.
    pub fn name(self) -> &'static str {
        TransactionState::ALL[self as usize].2
    }

    /// The state of a name, which is written as Kafka does.
    pub fn from_name(name: &str) -> Option<TransactionState> {
        TransactionState::ALL.iter().find(|(.., known)| *known == name).map(|found| found.0)
    }

    /// Whether markers are being written, and the transaction cannot be decided differently.
    pub fn is_prepared(self) -> bool {
        matches!(self, TransactionState::PrepareCommit | TransactionState::PrepareAbort)
    }

    /// Whether there is no transaction of which anything remains to be done.
    pub(super) fn is_at_rest(self) -> bool {
        use TransactionState::{CompleteAbort, CompleteCommit, Empty};
        matches!(self, Empty | CompleteCommit | CompleteAbort)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_kafkas() {
        for (at, state) in TransactionState::all().enumerate() {
            assert_eq!(state.number(), at as i8);
            assert_eq!(TransactionState::from_number(state.number()), Some(state));
            assert_eq!(TransactionState::from_name(state.name()), Some(state));
        }
        assert_eq!(TransactionState::from_number(8), None);
        assert_eq!(TransactionState::from_name("ongoing"), None);
    }
}
