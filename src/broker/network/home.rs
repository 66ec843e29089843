//! On which shard a connection lives.
//!
//! The kernel gives a connection to whichever shard it likes (`SO_REUSEPORT`). Two things make
//! another one better. Requests that are all for partitions of one other shard cost two wake-ups
//! each to get there and back, which is more than a small request itself costs; a large one is
//! better received and checked where it is, while the other shard appends. And a shard that has no
//! pause left should not hold what another has time for.
//!
//! A connection moves after [`MOVE_AFTER`] requests in a row that speak for the same shard, and
//! never to a busy one. The decision is pure: how busy the shards are comes in as an argument.

use std::time::Duration;

use ringlog_runtime::{Instant, ShardId};

/// Requests in a row that have to speak for a shard.
const MOVE_AFTER: u8 = 16;

/// Requests and responses up to this size (in bytes) are small.
const SMALL_BYTES_MAX: usize = 16 << 10;

/// A shard that works more than this share of its time (in percent) takes no connections over.
const BUSY_TO_TAKE_MAX: u8 = 50;

/// A shard that works at least this share of its time (in percent) gives connections away.
const BUSY_TO_GIVE_MIN: u8 = 95;

/// A shard gives no two connections away within this time, so that it sees what the first one
/// changed.
const GIVE_INTERVAL: Duration = Duration::from_millis(10);

/// The shard that the requests of one connection speak for.
#[derive(Debug, Default)]
pub(crate) struct Home {
    towards: Option<ShardId>,
    in_a_row: u8,
}

impl Home {
    /// Notes a request that touched partitions of `owner` alone, or of several shards (`None`),
    /// and the bytes of it or of its response, whichever carries the records.
    pub(crate) fn note(
        &mut self,
        here: ShardId,
        owner: Option<ShardId>,
        bytes: usize,
        busy_percent: &[u8],
    ) {
        let owner = owner.filter(|_| bytes <= SMALL_BYTES_MAX);
        let better = better(here, owner, busy_percent);
        if better != self.towards {
            *self = Home { towards: better, in_a_row: 0 };
        }
        self.in_a_row = self.in_a_row.saturating_add(1).min(MOVE_AFTER);
    }

    /// Where the connection should go now.
    pub(crate) fn wants(&self) -> Option<ShardId> {
        self.towards.filter(|_| self.in_a_row >= MOVE_AFTER)
    }

    /// The connection could not go, or not now.
    pub(crate) fn stay(&mut self) {
        *self = Home::default();
    }
}

fn better(here: ShardId, owner: Option<ShardId>, busy_percent: &[u8]) -> Option<ShardId> {
    let busy = |shard: ShardId| busy_percent[usize::from(shard.0)];
    if busy(here) >= BUSY_TO_GIVE_MIN {
        let shards = (0..busy_percent.len()).map(|shard| ShardId(shard as u16));
        return shards.min_by_key(|&shard| busy(shard)).filter(|&s| busy(s) <= BUSY_TO_TAKE_MAX);
    }
    owner.filter(|&owner| owner != here && busy(owner) <= BUSY_TO_TAKE_MAX)
}

/// When a shard last gave a connection away.
#[derive(Debug, Default)]
pub(crate) struct LastGiven(Option<Instant>);

impl LastGiven {
    /// Whether it may give one away now, which is then taken as done.
    pub(crate) fn give(&mut self, now: Instant) -> bool {
        let may = self.0.is_none_or(|last| now - last >= GIVE_INTERVAL);
        if may {
            self.0 = Some(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: ShardId = ShardId(0);
    const THERE: ShardId = ShardId(1);

    fn after(requests: impl IntoIterator<Item = (Option<ShardId>, usize, [u8; 3])>) -> Home {
        let mut home = Home::default();
        for (owner, bytes, busy_percent) in requests {
            home.note(HERE, owner, bytes, &busy_percent);
        }
        home
    }

    fn wanted(owner: Option<ShardId>, bytes: usize, busy_percent: [u8; 3]) -> Option<ShardId> {
        after([(owner, bytes, busy_percent); 16]).wants()
    }

    #[test]
    fn small_requests_for_one_shard_draw_the_connection_there() {
        assert_eq!(wanted(Some(THERE), 300, [40, 50, 0]), Some(THERE));
        assert_eq!(wanted(Some(HERE), 300, [40, 0, 0]), None);
        assert_eq!(wanted(None, 300, [40, 0, 0]), None, "for several shards");
        assert_eq!(wanted(Some(THERE), 16 << 10, [40, 0, 0]), Some(THERE));
        assert_eq!(wanted(Some(THERE), (16 << 10) + 1, [40, 0, 0]), None, "large ones do not");
        assert_eq!(wanted(Some(THERE), 300, [40, 51, 0]), None, "not to a busy shard");
    }

    #[test]
    fn it_takes_sixteen_in_a_row() {
        let one = (Some(THERE), 300, [0, 0, 0]);
        assert_eq!(after([one; 15]).wants(), None);
        for other in [(Some(ShardId(2)), 300, [0, 0, 0]), (None, 300, [0, 0, 0])] {
            let broken = [[one; 15].as_slice(), &[other], &[one; 15]].concat();
            assert_eq!(after(broken.clone()).wants(), None);
            assert_eq!(after([broken, vec![one]].concat()).wants(), Some(THERE));
        }
        let mut home = after([one; 300]);
        assert_eq!(home.wants(), Some(THERE));
        home.stay();
        assert_eq!(home.wants(), None);
    }

    #[test]
    fn a_shard_without_a_pause_gives_to_the_one_that_has_most() {
        assert_eq!(wanted(Some(HERE), 1 << 20, [95, 50, 20]), Some(ShardId(2)));
        assert_eq!(wanted(Some(THERE), 300, [100, 50, 20]), Some(ShardId(2)), "not to its owner");
        assert_eq!(wanted(Some(HERE), 300, [94, 0, 0]), None);
        assert_eq!(wanted(Some(HERE), 300, [100, 51, 60]), None, "all are busy");
    }

    #[test]
    fn one_at_a_time_is_given_away() {
        let at = |ms| Instant::from_nanos(0) + Duration::from_millis(ms);
        let mut last = LastGiven::default();
        let given = [0, 1, 9, 10, 19, 20].map(|ms| last.give(at(ms)));
        assert_eq!(given, [true, false, false, true, false, true]);
    }
}
