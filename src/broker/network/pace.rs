//! How fast a peer has to move what the node holds for it, while others wait for memory.
//!
//! Pure. As long as nobody waits, a peer may take its time. Then, who holds memory has to go on:
//! after a grace, more of it for a peer that has moved bytes in good time before, it needs an
//! average that would see all of it through in a minute. A byte every two seconds is no movement.

use std::cell::Cell;
use std::time::Duration;

use crate::network::lane::Standing;

/// How long nothing need move of what a peer holds that is known to move.
const GRACE_KNOWN: Duration = Duration::from_secs(3);
/// The same for any other peer.
const GRACE_OTHER: Duration = Duration::from_secs(1);

/// At the least, what a peer holds has to be through in this time.
const TIME_MAX: Duration = Duration::from_secs(60);
/// However little it is: in bytes a second.
const RATE_MIN: u64 = 16 << 10;

/// A transfer within this time, and a second for each MiB, counts for a peer.
const PROMPT_TIME: Duration = Duration::from_secs(1);
/// So many bytes make a peer known to move.
const KNOWN_BYTES: u64 = 64 << 10;

/// Whether a peer whose memory others wait for has lost it: it holds `bytes`, and of those (and
/// what it held before on the way) `moved` have moved in the time that it could move them.
pub(crate) fn is_too_slow(
    standing: Standing,
    bytes: usize,
    held_for: Duration,
    moved: u64,
) -> bool {
    let grace = match standing {
        Standing::Known => GRACE_KNOWN,
        Standing::Other => GRACE_OTHER,
    };
    let rate = (bytes as u64 / TIME_MAX.as_secs()).max(RATE_MIN);
    held_for >= grace && u128::from(moved) * 1000 < u128::from(rate) * held_for.as_millis()
}

/// How a peer moves, as far as is known: lives as long as its connection.
#[derive(Debug, Default, Clone)]
pub(crate) struct Record {
    /// Bytes that moved promptly, one after the other.
    promptly: Cell<u64>,
}

impl Record {
    /// Notes that so many bytes have moved, in the time that was the peer's to move them.
    pub(crate) fn note(&self, bytes: usize, took: Duration) {
        let prompt = PROMPT_TIME + Duration::from_millis(bytes as u64 >> 10);
        self.promptly.set(match took <= prompt {
            true => self.promptly.get().saturating_add(bytes as u64),
            false => 0,
        });
    }

    pub(crate) fn standing(&self) -> Standing {
        match self.promptly.get() >= KNOWN_BYTES {
            true => Standing::Known,
            false => Standing::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_memory_has_to_move() {
        let secs = Duration::from_secs;
        let mib = 1 << 20;
        for (standing, bytes, held_for, moved, expected) in [
            // A byte every two seconds.
            (Standing::Other, 90 * mib, secs(1), 0, true),
            (Standing::Other, 90 * mib, secs(10), 5, true),
            (Standing::Known, 90 * mib, secs(2), 0, false),
            (Standing::Known, 90 * mib, secs(3), 2, true),
            // Slow, but it will be through in a minute.
            (Standing::Other, 90 * mib, secs(10), 15 * mib as u64, false),
            (Standing::Other, 90 * mib, secs(10), 14 * mib as u64, true),
            // A modem.
            (Standing::Other, 100_000, secs(4), 4 * RATE_MIN, false),
            (Standing::Other, 100_000, secs(4), 4 * RATE_MIN - 1, true),
            (Standing::Other, 10, Duration::from_millis(999), 0, false),
        ] {
            let slow = is_too_slow(standing, bytes, held_for, moved);
            assert_eq!(
                slow, expected,
                "{standing:?}, {bytes} bytes for {held_for:?}, {moved} moved"
            );
        }
    }

    #[test]
    fn a_peer_becomes_known_by_moving_and_unknown_by_stopping() {
        let record = Record::default();
        let ms = Duration::from_millis;
        record.note(KNOWN_BYTES as usize - 1, ms(1000));
        assert_eq!(record.standing(), Standing::Other);
        record.note(1, ms(0));
        assert_eq!(record.standing(), Standing::Known);
        record.note(1 << 20, ms(2025));
        assert_eq!(record.standing(), Standing::Other);
        record.note(1 << 20, ms(2000));
        assert_eq!(record.standing(), Standing::Known);
    }
}
