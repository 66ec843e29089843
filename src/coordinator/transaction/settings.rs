//! The settings of transactions.

/// What a transaction coordinator goes by. Every field is the setting of its name; times in
/// milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionSettings {
    /// `transaction.max.timeout.ms`.
    pub transaction_max_timeout_ms: i32,
    /// `transactional.id.expiration.ms`.
    pub transactional_id_expiration_ms: i64,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`.
    pub timed_out_check_interval_ms: u64,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`.
    pub expired_check_interval_ms: u64,
    /// The finalized level of the feature `transaction.version`.
    pub transaction_version: i16,
}

impl Default for TransactionSettings {
    fn default() -> Self {
        TransactionSettings {
            transaction_max_timeout_ms: 900_000,
            transactional_id_expiration_ms: 7 * 24 * 60 * 60 * 1_000,
            timed_out_check_interval_ms: 10_000,
            expired_check_interval_ms: 3_600_000,
            transaction_version: 2,
        }
    }
}
