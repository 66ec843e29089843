//! What can be wrong with a record of an internal topic.

/// A record that cannot be read. Loading stops at it: state that is not whole is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CoordinatorError {
    /// The record has no key, or one too short to name its type.
    #[error("a record at offset {offset} has no key")]
    NoKey {
        /// Where it is.
        offset: i64,
    },
    /// The key or value does not follow its schema.
    #[error("a record of type {kind} at offset {offset} cannot be read: {reason}")]
    Malformed {
        /// The number that its key begins with.
        kind: i16,
        /// Where it is.
        offset: i64,
        /// What is wrong.
        reason: String,
    },
}
