//! The indexes beside a segment: where an offset lies, when it was written, what was aborted.
//!
//! Pure: bytes in, bytes out. An index is made from its segment and can always be made again.

pub(crate) mod offset_index;
pub(crate) mod time_index;
pub(crate) mod transaction_index;
