//! How long a client is asked to hold back when its request has been answered.
//!
//! Every answer passes here once, when it is complete and before it is sent; what comes out goes
//! into its `throttle_time_ms`, whichever API it is of and whether it was encoded for this request
//! or is kept for many ([`Answer::set_throttle_time`]). There are no quotas yet, so it is nothing
//! outside of tests.
//!
//! [`Answer::set_throttle_time`]: super::answers::Answer::set_throttle_time

use std::time::Duration;

use crate::network::connection::Peer;

/// The quotas of one shard's connections.
pub(crate) struct Throttle {
    /// What every client is told; zero outside of tests.
    always: Duration,
}

impl Throttle {
    pub(crate) fn new(always: Duration) -> Throttle {
        Throttle { always }
    }

    /// For how long `peer` has to hold back, whose request has just been answered and `took` so
    /// long.
    pub(crate) fn time_for(&self, _peer: &Peer, _api_key: i16, _took: Duration) -> Duration {
        self.always
    }
}
