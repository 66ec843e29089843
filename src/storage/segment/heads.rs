//! The chain of offsets through the heads of a segment's batches.
//!
//! No CRC covers a batch's base offset, so a changed bit there would go out as valid, and a
//! consumer would skip whatever lies between. But batches follow each other: one that claims
//! more than it has reaches into its successor, one that claims less into its predecessor.
//! Compaction leaves gaps, never overlaps. Pure.

use ringlog_types::Offset;

use crate::segment::batch_header::BatchHeader;

/// How a batch stands to the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// It begins where that one ends.
    Follows,
    /// There are offsets between them, as compaction leaves.
    Gap,
    /// They claim the same offsets: one of them is damaged.
    Overlaps,
}

/// A walk over heads, as far as it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadChain {
    /// Where the next head is.
    pub(crate) position: u64,
    expected: Option<Offset>,
}

impl HeadChain {
    /// Begins at a batch, of whose predecessor nothing is known.
    pub(crate) fn from(position: u64) -> HeadChain {
        HeadChain { position, expected: None }
    }

    /// Takes the next head.
    pub(crate) fn take(&mut self, header: &BatchHeader) -> Link {
        let link = self.link(header.base_offset);
        self.position += header.size as u64;
        self.expected = Some(header.next_offset());
        link
    }

    /// How what starts at `base_offset` stands to the last head.
    pub(crate) fn link(&self, base_offset: Offset) -> Link {
        match self.expected {
            Some(expected) if base_offset < expected => Link::Overlaps,
            Some(expected) if base_offset > expected => Link::Gap,
            _ => Link::Follows,
        }
    }
}

/// How many stretches of one segment are remembered.
const STRETCHES_MAX: usize = 8;

/// The stretches of a segment whose heads were looked at, so that only its first reader pays.
#[derive(Debug, Default)]
pub(crate) struct CheckedStretches(Vec<(u64, u64)>);

impl CheckedStretches {
    /// Where the first part of a stretch that begins at `start` and was looked at ends: `start` if
    /// there is none.
    pub(crate) fn checked_from(&self, start: u64) -> u64 {
        let around = self.0.iter().find(|(from, to)| *from <= start && start < *to);
        around.map_or(start, |(_, to)| *to)
    }

    /// Remembers a stretch. If there are too many, the one least lately added to goes.
    pub(crate) fn add(&mut self, start: u64, end: u64) {
        let (mut from, mut to) = (start, end);
        self.0.retain(|stretch| {
            let touches = stretch.0 <= to && from <= stretch.1;
            if touches {
                (from, to) = (from.min(stretch.0), to.max(stretch.1));
            }
            !touches
        });
        if self.0.len() == STRETCHES_MAX {
            self.0.remove(0);
        }
        self.0.push((from, to));
    }

    /// Forgets all of them.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_base_offset_overlaps_a_neighbour() {
        let header = |base_offset: i64| BatchHeader {
            base_offset,
            ..BatchHeader::parse(&crate::testing::BatchSpec::default().build(), 1 << 20)
                .expect("a batch")
        };
        for (offsets, links) in [
            ([10, 11, 12], [Link::Follows, Link::Follows, Link::Follows]),
            ([10, 11 | 1 << 20, 12], [Link::Follows, Link::Gap, Link::Overlaps]),
            ([10, 3, 12], [Link::Follows, Link::Overlaps, Link::Gap]),
            ([10, 14, 15], [Link::Follows, Link::Gap, Link::Follows]),
        ] {
            let mut chain = HeadChain::from(500);
            let found = offsets.map(|offset| chain.take(&header(offset)));
            assert_eq!(found, links, "{offsets:?}");
            assert_eq!(chain.position, 500 + 3 * header(0).size as u64);
        }
    }

    #[test]
    fn stretches_grow_together_and_are_few() {
        let mut checked = CheckedStretches::default();
        checked.add(0, 100);
        checked.add(300, 400);
        assert_eq!([0, 50, 100, 300].map(|at| checked.checked_from(at)), [100, 100, 100, 400]);
        checked.add(100, 300);
        assert_eq!(checked.checked_from(0), 400);
        for at in 1..20 {
            checked.add(at * 1000, at * 1000 + 1);
        }
        assert_eq!(checked.0.len(), STRETCHES_MAX);
        assert_eq!(checked.checked_from(0), 0);
        assert_eq!(checked.checked_from(19_000), 19_001);
        checked.clear();
        assert_eq!(checked.checked_from(19_000), 19_000);
    }
}
